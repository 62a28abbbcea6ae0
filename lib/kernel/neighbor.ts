import type { Ip } from "../cni/address.ts";

/**
 * Says which interface on the link of a device has an address, in place of what was known of it; it is looked at again when
 * packets go there.
 */
export interface SetNeighbor {
  readonly kind: "set-neighbor";
  readonly device: string;
  readonly ip: Ip;
  readonly mac: string;
}
