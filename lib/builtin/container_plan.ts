import { type Cidr, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import type { IpConfig, Route } from "../cni/result.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { AddRoute, Change } from "../kernel/operation.ts";

/** The addresses and routes of the interface in a container. */
export interface ContainerPlan {
  /** As in the result, with the missing gateways. */
  readonly ips: readonly IpConfig[];
  /** With the default routes that the configuration adds. */
  readonly routes: readonly Route[];
  readonly addresses: readonly Cidr[];
}

/** How the interface of a container gets its addresses. */
export interface AddressingOptions {
  /** Whether other owners of its IPv6 addresses are searched for. @default {false} */
  readonly detectsDuplicates?: boolean | undefined;
  /** Whether it also takes what routers on the link advertise: addresses and default routes. @default {false} */
  readonly takesAdvertised?: boolean | undefined;
}

/**
 * Returns the parameters with which an IPv6 address is not disabled, and usable immediately unless duplicates are searched for,
 * and with which the interface has no other addresses and routes than those of the result.
 */
export function containerSysctls(
  ifName: string,
  addresses: readonly Cidr[],
  { detectsDuplicates = false, takesAdvertised = false }: AddressingOptions = {},
): Sysctl[] {
  const wanted: Sysctl[] = [
    // Before it is up: a router on the bridge answers at once, and its addresses and routes would stand beside those of the result.
    ...(takesAdvertised ? [] : [{ name: `net/ipv6/conf/${ifName}/accept_ra`, value: "0" as const }]),
    ...(detectsDuplicates ? [{ name: `net/ipv6/conf/${ifName}/enhanced_dad`, value: "1" as const }] : []),
    { name: `net/ipv6/conf/${ifName}/accept_dad`, value: detectsDuplicates ? "1" : "0" },
    // Announces the new owner of the address to neighbours that remember the former one.
    { name: `net/ipv4/conf/${ifName}/arp_notify`, value: "1" },
  ];
  return [...wanted, ...enableIpv6Sysctls(ifName, addresses)];
}

/**
 * Returns the parameters without which an interface takes no IPv6 address, or loses it when it goes down. The latter is not
 * required: it does not keep a container from working where /proc/sys is read-only.
 */
export function enableIpv6Sysctls(ifName: string, addresses: readonly Cidr[]): Sysctl[] {
  if (!addresses.some(({ ip }) => ip.family === 6)) return [];
  return [
    { name: "net/ipv6/conf/lo/disable_ipv6", value: "0", required: true },
    { name: `net/ipv6/conf/${ifName}/disable_ipv6`, value: "0", required: true },
    { name: `net/ipv6/conf/${ifName}/keep_addr_on_down`, value: "1" },
  ];
}

/** Returns the operations that give the interface of the container its addresses and routes. */
export function containerOperations(
  ifName: string,
  plan: ContainerPlan,
  { detectsDuplicates }: AddressingOptions = {},
): Change[] {
  const gateways = plan.ips.flatMap(({ gateway }) => gateway === undefined ? [] : [needIp(gateway)]);
  return [
    ...plan.addresses.map((address) =>
      ({ kind: "add-address", device: ifName, address, detectsDuplicates }) as const
    ),
    { kind: "set-link", name: ifName, up: true },
    ...plan.routes.map((route) => routeOperation(route, ifName, gateways)),
  ];
}

/** RT_SCOPE_LINK, and above it RT_SCOPE_HOST: the kernel refuses a gateway for these. */
const SCOPE_LINK = 253;

/** A route without next hop goes through the first gateway of its family, unless its scope says that it leads to none. */
function routeOperation(route: Route, ifName: string, gateways: readonly Ip[]): AddRoute {
  const dst = needCidr(route.dst);
  const given = route.gw === undefined ? undefined : needIp(route.gw);
  const { priority, table, scope, mtu, advmss } = route;
  const hasGateway = scope === undefined || scope < SCOPE_LINK;
  return {
    kind: "add-route",
    device: ifName,
    dst,
    gateway: given ?? (hasGateway ? gateways.find(({ family }) => family === dst.ip.family) : undefined),
    metric: priority || undefined,
    table,
    scope,
    mtu: mtu || undefined,
    advmss: advmss || undefined,
  };
}

/** Returns the parameters with which the host forwards packets of these addresses. */
export function forwardingSysctls(addresses: readonly Cidr[]): Sysctl[] {
  const has = (family: 4 | 6) => addresses.some(({ ip }) => ip.family === family);
  return [
    ...(has(4) ? [{ name: "net/ipv4/ip_forward", value: "1" as const, required: true }] : []),
    ...(has(6) ? [{ name: "net/ipv6/conf/all/forwarding", value: "1" as const, required: true }] : []),
  ];
}

/** @throws {Error} if an IPAM plugin returned something else */
export function needCidr(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) {
    throw new Error(`the IPAM plugin returned "${text}", which is not a valid address with a prefix length`);
  }
  return cidr;
}

/** @throws {Error} if an IPAM plugin returned something else */
export function needIp(text: string): Ip {
  const ip = parseIp(text);
  if (ip === undefined) {
    throw new Error(`the IPAM plugin returned the gateway "${text}", which is not a valid IP address`);
  }
  return ip;
}
