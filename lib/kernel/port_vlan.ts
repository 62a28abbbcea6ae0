/** VLANs of a port of a bridge that it treats alike, from `first` to `last`. */
export interface PortVlans {
  readonly first: number;
  readonly last: number;
  /** Whether frames without a tag that come in through the port are of this VLAN; only of a single one. */
  readonly isNative: boolean;
  /** Whether frames of these VLANs leave through the port without a tag. */
  readonly isUntagged: boolean;
}

/** Gives a port of a bridge VLANs. */
export interface PortVlanChange {
  /** The port. */
  readonly device: string;
  readonly add: readonly PortVlans[];
  /** Whether the VLANs that it has before are taken from it first. @default {false} */
  readonly replaces?: boolean | undefined;
}

/** Says what a change does, with an infinitive. */
export function describePortVlans({ device }: Pick<PortVlanChange, "device">): string {
  return `change the VLANs of the bridge port ${JSON.stringify(device)}`;
}

/** What {@linkcode Kernel.portVlans} does, with an infinitive. */
export const SHOW_PORT_VLANS = "show the VLANs of the bridge ports";
