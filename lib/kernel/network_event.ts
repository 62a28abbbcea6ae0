/** What has happened to the network of this machine; many events at once are one. */
export interface NetworkEvent {
  /** Whether rules are gone, or a chain has come that may stop packets. */
  readonly rules: boolean;
  /** The names of links that are gone or down. */
  readonly links: ReadonlySet<string>;
  /** The indexes of links that have lost an address. */
  readonly addresses: ReadonlySet<number>;
  /** Whether forwarding may have been switched off. */
  readonly forwarding: boolean;
  /** Whether there were so many events that some are lost: anything may have happened. */
  readonly isIncomplete: boolean;
}
