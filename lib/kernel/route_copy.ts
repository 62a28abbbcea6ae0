import type { AddRoute, RemoveRoute, RouteInfo } from "./operation.ts";

const MAIN_TABLE = 254;

/** Returns what puts a route back into the main table, or copies it into another one. */
export function copyOf(route: RouteInfo, table: number = MAIN_TABLE): AddRoute {
  const { dst, metric, protocol, scope, source, mtu, advmss, hops } = route;
  const [hop] = hops;
  if (dst === undefined || hop === undefined) throw new TypeError("Cannot copy a route: it leads nowhere");
  return {
    kind: "add-route",
    device: hop.device,
    dst,
    gateway: hop.gateway,
    ...{ table, metric, protocol, source, mtu, advmss },
    // IPv6 has none.
    scope: dst.ip.family === 4 ? scope : undefined,
    replace: true,
  };
}

/** Returns what takes a route out of its table. */
export function removalOf({ dst, table, metric, hops }: RouteInfo): RemoveRoute {
  if (dst === undefined) throw new TypeError("Cannot remove a route: it has no destination");
  return { kind: "remove-route", dst, table, metric, hops };
}

/** Whether a route leads through one interface, by a next hop of its own family if any. */
export function throughAlone({ dst, isUnicast, hops }: RouteInfo, ifName: string): boolean {
  const [hop] = hops;
  return dst !== undefined && isUnicast && hop !== undefined && hops.length === 1 && hop.device === ifName &&
    (hop.gateway === undefined || hop.gateway.family === dst.ip.family);
}
