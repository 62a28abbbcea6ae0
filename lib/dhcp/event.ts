import type { AttachmentKey } from "../state/attachment_key.ts";

/** What became of a lease in a daemon that began without it. */
export const LEASE_OUTCOMES = ["renewed", "changed", "failed"] as const;

/** One of {@linkcode LEASE_OUTCOMES}. */
export type LeaseOutcome = typeof LEASE_OUTCOMES[number];

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

/** How the daemon answered. */
export type LeaseResult =
  & { readonly outcome: LeaseOutcome }
  & (
    /** The daemon renews it from now on. */
    | { readonly outcome: "renewed"; readonly address: string }
    /** The server has given another address. The container still has the one that it was attached with. */
    | { readonly outcome: "changed"; readonly address: string; readonly attached: readonly string[] }
    /** There is none; the next try comes later. */
    | { readonly outcome: "failed"; readonly reason: string }
  );
