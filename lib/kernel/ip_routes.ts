import { bitsOf, type Cidr, parseCidr, parseIp } from "../cni/address.ts";
import { objectsIn } from "../host/ip_batch.ts";
import { numberedProtocol, numberedScope, numberedTable } from "./ip_numbers.ts";
import type { NextHop, RouteInfo } from "./operation.ts";

/** A route as `ip -j` prints it, with the members that matter here. */
interface IpRoute extends IpHop {
  readonly type?: unknown;
  readonly dst?: unknown;
  readonly protocol?: unknown;
  readonly table?: unknown;
  readonly metric?: unknown;
  readonly scope?: unknown;
  readonly prefsrc?: unknown;
  readonly metrics?: unknown;
  readonly nexthops?: unknown;
}

interface IpHop {
  readonly dev?: unknown;
  readonly gateway?: unknown;
  /** A next hop of the other family. */
  readonly via?: unknown;
  readonly weight?: unknown;
}

/** The numbers of the kernel's headers: RTN_UNICAST, RTPROT_RA, RT_TABLE_MAIN. */
const UNICAST = "1", ADVERTISED = 9, MAIN = 254;

/** Returns the routes of one family in a list that `ip` printed. */
export function parseRoutes(family: 4 | 6, list: readonly unknown[] = []): readonly RouteInfo[] {
  return objectsIn(list).map((route: IpRoute) => routeIn(family, route));
}

function routeIn(family: 4 | 6, route: IpRoute): RouteInfo {
  // What is usual is not printed without details.
  const { type = "unicast", table = "main", protocol = "boot", scope = "global" } = route;
  const [metrics] = Array.isArray(route.metrics) ? objectsIn(route.metrics) : [];
  return {
    dst: networkIn(route.dst, family),
    isUnicast: type === "unicast" || type === UNICAST,
    isAdvertised: numberedProtocol(protocol) === ADVERTISED,
    isMain: numberedTable(table) === MAIN,
    table: numberedTable(table),
    metric: numberIn(route.metric),
    protocol: numberedProtocol(protocol),
    scope: numberedScope(scope),
    source: parseIp(String(route.prefsrc ?? "")),
    mtu: numberIn(metrics?.mtu),
    advmss: numberIn(metrics?.advmss),
    hops: Array.isArray(route.nexthops) ? objectsIn(route.nexthops).flatMap(hopIn) : hopIn(route),
  };
}

function numberIn(shown: unknown): number | undefined {
  return typeof shown === "number" ? shown : undefined;
}

/** Returns the interface of the route that `ip route get` printed. */
export function deviceIn(list: readonly unknown[] = []): string | undefined {
  const [route] = objectsIn(list);
  return typeof route?.dev === "string" ? route.dev : undefined;
}

/** `ip` prints "default" for all addresses, and no prefix length for a single address. */
function networkIn(text: unknown, family: 4 | 6): Cidr | undefined {
  if (text === "default") return { ip: { family, value: 0n }, prefix: 0 };
  if (typeof text !== "string") return undefined;
  const ip = parseIp(text);
  return ip === undefined ? parseCidr(text) : { ip, prefix: bitsOf(ip) };
}

function hopIn({ dev, gateway, via, weight }: IpHop): NextHop[] {
  if (typeof dev !== "string") return [];
  const [other] = objectsIn([via]);
  return [{
    device: dev,
    gateway: parseIp(String(other?.host ?? gateway ?? "")),
    ...typeof weight === "number" ? { weight } : {},
  }];
}
