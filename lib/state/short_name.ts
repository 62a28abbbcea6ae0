import { fnv1a } from "../host/fnv.ts";

/** With the longest interface name, and what setting aside adds, the name of the file keeps below NAME_MAX of Linux. */
const LONGEST_PART = 220;
const KEPT_OF_LONGER = 200;

/** The name of a network, cut if it is long; "~" is in no such name, so a cut one is not another network's. */
export function shortName(network: string): string {
  if (network.length <= LONGEST_PART) return network;
  return `${network.slice(0, KEPT_OF_LONGER)}~${fnv1a(network, 64).toString(16)}`;
}
