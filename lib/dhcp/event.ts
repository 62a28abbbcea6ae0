import type { AttachmentKey } from "../state/attachment_key.ts";

/** Something that happened to a DHCP daemon, or to the leases that it holds. */
export type DhcpEvent =
  & {
    /** Where the daemon listens. */
    readonly socket: string;
  }
  & (
    /** podwire started it. */
    | { readonly event: "daemon-started"; readonly pid: number }
    /** It ended, without podwire having ended it. */
    | { readonly event: "daemon-ended" }
    /** It cannot be started; the next try comes later. */
    | { readonly event: "daemon-failed"; readonly reason: string }
    | LeaseEvent
  );

/** What became of the lease of one attachment. */
export type LeaseEvent =
  & {
    readonly event: "lease";
    readonly attachment: AttachmentKey;
  }
  & LeaseResult;

/** What became of a lease in a daemon that began without it. */
export type LeaseResult =
  /** The daemon renews it from now on. */
  | { readonly outcome: "renewed"; readonly address: string }
  /** The server has given another address. The container still has the one that it was attached with. */
  | { readonly outcome: "changed"; readonly address: string; readonly attached: readonly string[] }
  /** There is none; the next try comes later. */
  | { readonly outcome: "failed"; readonly reason: string };
