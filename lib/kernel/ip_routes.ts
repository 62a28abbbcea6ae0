import { bitsOf, type Cidr, parseCidr, parseIp } from "../cni/address.ts";
import { objectsIn } from "../host/ip_batch.ts";
import type { NextHop, RouteInfo } from "./operation.ts";

/** A route as `ip -j` prints it, with the members that matter here. */
interface IpRoute extends IpHop {
  readonly type?: unknown;
  readonly dst?: unknown;
  readonly protocol?: unknown;
  readonly table?: unknown;
  readonly metric?: unknown;
  readonly nexthops?: unknown;
}

interface IpHop {
  readonly dev?: unknown;
  readonly gateway?: unknown;
  /** A next hop of the other family. */
  readonly via?: unknown;
  readonly weight?: unknown;
}

/** Returns the routes of one family in a list that `ip` printed. */
export function parseRoutes(family: 4 | 6, list: readonly unknown[] = []): readonly RouteInfo[] {
  return objectsIn(list).map((route: IpRoute) => ({
    dst: networkIn(route.dst, family),
    // What is usual is not printed without details.
    isUnicast: (route.type ?? "unicast") === "unicast",
    isAdvertised: route.protocol === "ra",
    isMain: (route.table ?? "main") === "main",
    metric: typeof route.metric === "number" ? route.metric : undefined,
    hops: Array.isArray(route.nexthops) ? objectsIn(route.nexthops).flatMap(hopIn) : hopIn(route),
  }));
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
