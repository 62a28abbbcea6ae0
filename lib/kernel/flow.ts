import type { Ip } from "../cni/address.ts";

/** A connection that the kernel tracks, as its first packet had it. */
export interface Flow {
  /** Where the first packet was sent to, before any translation. */
  readonly destination: Ip;
  readonly port: number;
  /** Who answers: after a translation, the address of the pod. */
  readonly answerer: Ip;
}

/** Which UDP connections to remove, of one family. */
export interface FlowSelection {
  readonly family: 4 | 6;
  /** The port of all of them, if that is one: then the kernel shows fewer. @default {any} */
  readonly port?: number | undefined;
  /** Whether it is one of them. */
  readonly isSelected: (flow: Flow) => boolean;
}
