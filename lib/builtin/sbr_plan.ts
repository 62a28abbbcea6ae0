import { bitsOf, type Cidr, compareIp, contains, type Ip, networkOf, parseCidr } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { IpConfig, Result } from "../cni/result.ts";
import type { AddRoute, AddRule, RouteInfo } from "../kernel/operation.ts";
import { needCidr, needIp } from "./container_plan.ts";
import { copyOf, throughAlone } from "../kernel/route_copy.ts";
import type { SbrConfig } from "./sbr_config.ts";
import type { ShownRouting } from "./shown_routing.ts";

/** What an ADD does, in this order. */
export interface SbrPlan {
  readonly routes: readonly AddRoute[];
  readonly rules: readonly AddRule[];
  /** Routes to the networks of the addresses, for packets that have no source yet. */
  readonly hints: readonly AddRoute[];
  /** The routes that leave the main table. */
  readonly moved: readonly RouteInfo[];
  /** All of the interface that the main table has, to undo that. */
  readonly before: readonly RouteInfo[];
}

/** The first table that an attachment may get, as in the original: those below are for people to choose. */
export const FIRST_TABLE = 100;
/** RT_SCOPE_LINK. */
const SCOPE_LINK = 253;
/** A network with fewer addresses has no first one for a router. */
const LEAST_BITS = 2;

/** Returns the addresses of an interface in a result; one without an interface counts too. */
export function ownIps({ ips = [], interfaces = [] }: Partial<Result>, ifName: string): readonly IpConfig[] {
  return ips.filter(({ interface: at }) => {
    const named = at === undefined ? undefined : interfaces[at];
    return named === undefined || named.name === ifName;
  });
}

/**
 * Returns the addresses of an interface in the result of the plugins before.
 *
 * @throws {CniError} With the code 7 if there is none: nothing could be routed by its source.
 */
export function sourcesOf(result: Result, ifName: string): readonly IpConfig[] {
  const own = ownIps(result, ifName);
  if (own.length > 0) return own;
  throw new CniError("config", `prevResult has no address of interface "${ifName}"`, {
    code: ERROR_CODES.invalidNetworkConfig,
  });
}

/** Returns what routes the packets of an interface by their source. */
export function planSbr(
  result: Result,
  ifName: string,
  { table, gateways, addSourceHints }: SbrConfig,
  present: ShownRouting,
): SbrPlan {
  const sources = sourcesOf(result, ifName);
  const addresses = sources.map(({ address }) => needCidr(address));
  if (table !== undefined) {
    return {
      routes: [],
      rules: addresses.map((address) => ruleFor(address, table)),
      hints: [],
      moved: [],
      before: [],
    };
  }
  const own = present.routes.filter((route) => route.isMain && throughAlone(route, ifName));
  const free = freeTables(present);
  const planned = addresses.map((address, at) => {
    const table = free();
    const fixed = gateways.find(({ family }) => family === address.ip.family);
    const gateway = fixed ?? gatewayOf(sources[at], address, result, own);
    const copies = own.filter((route) => isFor(route, address) && !(fixed && isDefault(route, fixed)));
    return {
      rule: ruleFor(address, table),
      routes: [
        ...(gateway === undefined ? [] : [defaultRoute(ifName, gateway, table)]),
        ...copies.map((route) => copyOf(route, table)),
      ],
    };
  });
  return {
    routes: planned.flatMap(({ routes }) => routes),
    rules: planned.map(({ rule }) => rule),
    hints: addSourceHints ? addresses.map((address) => hintFor(ifName, address)) : [],
    before: own,
    moved: addSourceHints ? own.filter(({ scope }) => scope !== SCOPE_LINK) : own,
  };
}

/** Returns the rule for the packets that come from an address. */
export function ruleFor({ ip }: Cidr, table: number): AddRule {
  return { kind: "add-rule", source: { ip, prefix: bitsOf(ip) }, table };
}

/** Returns the route by which the kernel chooses an address for packets that have no source yet. */
export function hintFor(device: string, address: Cidr): AddRoute {
  const scope = address.ip.family === 4 ? SCOPE_LINK : undefined;
  return { kind: "add-route", device, dst: networkOf(address), source: address.ip, scope, replace: true };
}

/** Whether packets from an address may need a route: one without next hop and source counts for all, as in the original. */
function isFor({ source, hops: [hop] }: RouteInfo, address: Cidr): boolean {
  const ways = [source, hop?.gateway].filter((ip) => ip !== undefined);
  return ways.length === 0 || ways.some((ip) => ip.family === address.ip.family && contains(address, ip));
}

function isDefault({ dst }: RouteInfo, { family }: Ip): boolean {
  return dst?.prefix === 0 && dst.ip.family === family;
}

function defaultRoute(device: string, gateway: Ip, table: number): AddRoute {
  const dst = { ip: { family: gateway.family, value: 0n }, prefix: 0 };
  return { kind: "add-route", device, dst, gateway, table };
}

/**
 * The next hop for what comes from an address. IPAM plugins may return none, or only a default route; then the first address
 * of the network is the likeliest router, and without one the packets would leave by another interface.
 */
function gatewayOf(
  source: IpConfig | undefined,
  address: Cidr,
  { routes = [] }: Result,
  own: readonly RouteInfo[],
): Ip | undefined {
  if (source?.gateway !== undefined) return needIp(source.gateway);
  // It is copied.
  if (own.some((route) => isDefault(route, address.ip) && isFor(route, address))) return undefined;
  const { family } = address.ip;
  for (const { dst, gw } of routes) {
    const network = parseCidr(dst);
    if (network?.prefix !== 0 || network.ip.family !== family || gw === undefined) continue;
    const gateway = needIp(gw);
    if (contains(address, gateway)) return gateway;
  }
  const { ip, prefix } = networkOf(address);
  const first = { family, value: ip.value + 1n };
  const hasRoom = bitsOf(ip) - prefix >= LEAST_BITS;
  return hasRoom && compareIp(first, address.ip) !== 0 ? first : undefined;
}

/** Returns a function that returns a table to which no rule leads and that has no routes, another one each time. */
function freeTables({ rules, routes }: ShownRouting): () => number {
  const taken = new Set([...rules, ...routes].map(({ table }) => table));
  let next = FIRST_TABLE;
  return () => {
    while (taken.has(next)) next++;
    return next++;
  };
}
