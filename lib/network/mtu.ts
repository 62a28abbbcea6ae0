import { LARGEST_MTU } from "./network_request.ts";

const SMALLEST_MTU = 68;
/** The kernel takes IPv6 away from an interface with less: RFC 8200, section 5. */
export const SMALLEST_IPV6_MTU = 1280;

/** Returns what is wrong with an MTU that no interface can have; undefined if one can. */
export function mtuProblem(mtu: number, hasIpv6: boolean): string | undefined {
  const least = hasIpv6 ? SMALLEST_IPV6_MTU : SMALLEST_MTU;
  if (Number.isInteger(mtu) && mtu >= least && mtu <= LARGEST_MTU) return undefined;
  return `${mtu} is not a whole number from ${least} to ${LARGEST_MTU}`;
}
