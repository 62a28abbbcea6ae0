import { fnv1a } from "../host/fnv.ts";

/** With the longest interface name and an ending, the file name stays below NAME_MAX of Linux. */
const LONGEST_PART = 220;
const KEPT_OF_LONGER = 200;
/** Marks a shortened name: no network name has this character, so a shortened name cannot be that of another network. */
const SHORTENED = "~";

/** Returns the name of a network as it is in file names: a long one is shortened, and ends with a hash. */
export function shortName(network: string): string {
  if (network.length <= LONGEST_PART) return network;
  return `${network.slice(0, KEPT_OF_LONGER)}${SHORTENED}${fnv1a(network, 64).toString(16)}`;
}

/** Whether the name of a network in a file name is shortened. */
export function isShortened(part: string): boolean {
  return part.includes(SHORTENED);
}

/** Whether a name, which may be shortened, is that of the network. */
export function isShortNameOf(part: string, network: string): boolean {
  return part === network || shortName(network) === part;
}
