import { type Cidr, formatCidr } from "../cni/address.ts";
import { relation } from "./subnet.ts";

/** A network that something on this machine uses already. */
export interface TakenSubnet {
  readonly subnet: Cidr;
  /** What uses it, as in `the network "web" (10-web.conflist)` or `the route through tun0`. */
  readonly by: string;
  /** The interface of the host that it is on; undefined for the subnet of a network. */
  readonly device?: string | undefined;
}

/** What overlaps with a subnet. */
export interface Overlaps {
  /** Equal or narrower: packets to containers would go there, or the other way round. */
  readonly refused: readonly TakenSubnet[];
  /** Wider, as the routes of a VPN are: the more specific subnet of the network wins. */
  readonly wider: readonly TakenSubnet[];
}

/** Sorts what overlaps with a subnet. The subnet of another network may not overlap at all, whichever is wider. */
export function overlapsOf(subnet: Cidr, taken: readonly TakenSubnet[]): Overlaps {
  const refused: TakenSubnet[] = [];
  const wider: TakenSubnet[] = [];
  for (const one of taken) {
    const how = relation(one.subnet, subnet);
    if (how === "apart") continue;
    if (how === "around" && one.device !== undefined) wider.push(one);
    else refused.push(one);
  }
  return { refused, wider };
}

/** Says what uses a network, as in `the route through tun0 to 10.0.0.0/8`. */
export function describeTaken({ subnet, by }: TakenSubnet): string {
  return `${formatCidr(subnet)}, ${by}`;
}
