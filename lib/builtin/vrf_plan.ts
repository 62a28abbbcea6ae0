import type { LinkInfo } from "../host/link_info.ts";
import type { AddRoute, RemoveRoute, RouteInfo } from "../kernel/operation.ts";
import { copyOf, removalOf, throughAlone } from "../kernel/route_copy.ts";
import type { ShownRouting } from "./shown_routing.ts";

/** RTPROT_KERNEL: such a route comes with its address. */
const OF_KERNEL = 2;
/** The kernel's own tables begin here. */
const DEFAULT_TABLE = 253;
const LOCAL_TABLE = 255;

/** Returns the first table that no VRF has, to which no rule leads and that has no routes. */
export function freeTable(links: readonly LinkInfo[], { routes, rules }: ShownRouting): number {
  const taken = new Set([
    ...links.map(({ vrfTable }) => vrfTable),
    ...[...routes, ...rules].map(({ table }) => table),
  ]);
  let table = 1;
  while (taken.has(table) || table >= DEFAULT_TABLE && table <= LOCAL_TABLE) table++;
  return table;
}

/**
 * Returns what gives an interface its routes after it has been down; those of the main table go into `table`, if that is
 * given. In IPv6 an equal route of another interface may share the traffic: each has its own afterwards.
 */
export function routesAfter(
  { routes }: ShownRouting,
  ifName: string,
  table: number | undefined,
): readonly AddRoute[] {
  return routes.flatMap((route) => ownWay(route, ifName))
    .filter((route) =>
      throughAlone(route, ifName) && route.protocol !== OF_KERNEL && route.table !== LOCAL_TABLE
    )
    .map((route) => copyOf(route, route.isMain ? table : route.table))
    // A next hop may be in a network on the link.
    .toSorted((a, b) => Number(a.gateway !== undefined) - Number(b.gateway !== undefined));
}

/** Returns what takes an interface out of the routes that it shares: the kernel leaves it there when it is down for a moment. */
export function sharesOf({ routes }: ShownRouting, ifName: string): readonly RemoveRoute[] {
  return routes.filter(({ isMain, hops }) => isMain && hops.length > 1)
    .flatMap((route) => ownWay(route, ifName))
    .filter((route) => throughAlone(route, ifName))
    .map(removalOf);
}

/** In IPv6 each next hop is a route of its own, which `ip` and the kernel show together. */
function ownWay(route: RouteInfo, ifName: string): RouteInfo[] {
  const { dst, hops } = route;
  if (hops.length < 2 || dst?.ip.family !== 6) return [route];
  return hops.filter(({ device }) => device === ifName).map(({ device, gateway }) => ({
    ...route,
    hops: [{ device, gateway }],
  }));
}
