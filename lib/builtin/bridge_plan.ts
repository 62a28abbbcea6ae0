import {
  type Cidr,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  networkOf,
  parseCidr,
  parseIp,
} from "../cni/address.ts";
import type { IpConfig, Result, Route } from "../cni/result.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { AddRoute, Change } from "../kernel/operation.ts";
import type { BridgeConfig } from "./bridge_config.ts";

/** The addresses and routes of the container and the bridge, made from the result of the IPAM plugin. */
export interface AddressPlan {
  /** As in the result, with the missing gateways. */
  readonly ips: readonly IpConfig[];
  /** With the default routes that `isDefaultGateway` adds. */
  readonly routes: readonly Route[];
  readonly addresses: readonly Cidr[];
  /** The addresses that the bridge needs. */
  readonly bridgeAddresses: readonly Cidr[];
}

/** The interface of the container is the third in the result. */
const CONTAINER_INDEX = 2;
const DEFAULT_ROUTE = { 4: "0.0.0.0/0", 6: "::/0" } as const;

/** Adds gateways and default routes, as `isGateway` and `isDefaultGateway` require. */
export function planAddresses(ipam: Result, config: BridgeConfig): AddressPlan {
  const { ips: given = [], routes: givenRoutes = [] } = ipam;
  if (given.length === 0) throw new Error("IPAM plugin returned missing IP config");
  const routes: Route[] = [...givenRoutes];
  const served = new Set<string>();
  const ips: IpConfig[] = [];
  const addresses: Cidr[] = [];
  const bridgeAddresses: Cidr[] = [];
  for (const ip of given) {
    const address = needCidr(ip.address);
    const gateway = ip.gateway ?? (config.isGateway ? formatIp(firstHost(address)) : undefined);
    const everything = DEFAULT_ROUTE[address.ip.family];
    if (config.isDefaultGateway && gateway !== undefined && !served.has(everything)) {
      served.add(everything);
      const has = routes.some((route) => route.gw !== undefined && route.dst === everything);
      if (!has) routes.push({ dst: everything, gw: gateway });
    }
    ips.push({ ...ip, interface: CONTAINER_INDEX, ...(gateway === undefined ? {} : { gateway }) });
    addresses.push(address);
    if (config.isGateway && gateway !== undefined) {
      bridgeAddresses.push({ ip: needIp(gateway), prefix: address.prefix });
    }
  }
  return { ips, routes, addresses, bridgeAddresses };
}

function firstHost(address: Cidr): Ip {
  const network = networkOf(address).ip;
  return { family: network.family, value: network.value + 1n };
}

function needCidr(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) {
    throw new Error(`the IPAM plugin returned "${text}", which is not a valid address with a prefix length`);
  }
  return cidr;
}

function needIp(text: string): Ip {
  const ip = parseIp(text);
  if (ip === undefined) {
    throw new Error(`the IPAM plugin returned the gateway "${text}", which is not a valid IP address`);
  }
  return ip;
}

/** Returns the parameters with which an address is usable immediately: no duplicate address detection, IPv6 not disabled. */
export function containerSysctls(ifName: string, addresses: readonly Cidr[]): Sysctl[] {
  const wanted: Sysctl[] = [
    { name: `net/ipv6/conf/${ifName}/accept_dad`, value: "0" },
    // Announces the new owner of the address to neighbours that remember the former one.
    { name: `net/ipv4/conf/${ifName}/arp_notify`, value: "1" },
  ];
  if (!addresses.some(({ ip }) => ip.family === 6)) return wanted;
  return [
    ...wanted,
    { name: "net/ipv6/conf/lo/disable_ipv6", value: "0", required: true },
    { name: `net/ipv6/conf/${ifName}/disable_ipv6`, value: "0", required: true },
    { name: `net/ipv6/conf/${ifName}/keep_addr_on_down`, value: "1", required: true },
  ];
}

/** Returns the operations that give the interface of the container its addresses and routes. */
export function containerOperations(ifName: string, plan: AddressPlan): Change[] {
  const gateways = plan.ips.flatMap(({ gateway }) => gateway === undefined ? [] : [needIp(gateway)]);
  return [
    ...plan.addresses.map((address) => ({ kind: "add-address", device: ifName, address }) as const),
    { kind: "set-link", name: ifName, up: true },
    ...plan.routes.map((route) => routeOperation(route, ifName, gateways)),
  ];
}

/** A route without next hop goes through the first gateway of its family. */
function routeOperation(route: Route, ifName: string, gateways: readonly Ip[]): AddRoute {
  const dst = needCidr(route.dst);
  const given = route.gw === undefined ? undefined : needIp(route.gw);
  const { priority, table, scope, mtu, advmss } = route;
  return {
    kind: "add-route",
    device: ifName,
    dst,
    gateway: given ?? gateways.find(({ family }) => family === dst.ip.family),
    metric: priority || undefined,
    table,
    scope,
    mtu: mtu || undefined,
    advmss: advmss || undefined,
  };
}

/**
 * Returns the operations that give the bridge its missing addresses. Another address is a conflict if it is IPv4 or of an
 * overlapping network; it is removed only with `forceAddress`.
 */
export function bridgeAddressOperations(
  config: BridgeConfig,
  present: readonly Cidr[],
  needed: readonly Cidr[],
): Change[] {
  const operations: Change[] = [];
  const device = config.bridge;
  for (const address of needed) {
    const text = formatCidr(address);
    if (present.some((other) => formatCidr(other) === text)) continue;
    for (const other of present.filter((other) => conflicts(other, address))) {
      if (!config.forceAddress) {
        throw new Error(
          `"${config.bridge}" already has an IP address different from ${text}: ${formatCidr(other)}; ` +
            "forceAddress would replace it",
        );
      }
      operations.push({ kind: "remove-address", device, address: other });
    }
    // Replace, not add: several first containers of a bridge may all find the address missing.
    operations.push({ kind: "add-address", device, address, replace: true });
  }
  return operations;
}

function conflicts(other: Cidr, address: Cidr): boolean {
  if (other.ip.family !== address.ip.family) return false;
  return address.ip.family === 4 || contains(networkOf(other), address.ip) ||
    contains(networkOf(address), other.ip);
}

/** Returns the parameters with which the host forwards packets of these addresses. */
export function forwardingSysctls(addresses: readonly Cidr[]): Sysctl[] {
  const has = (family: 4 | 6) => addresses.some(({ ip }) => ip.family === family);
  return [
    ...(has(4) ? [{ name: "net/ipv4/ip_forward", value: "1" as const, required: true }] : []),
    ...(has(6) ? [{ name: "net/ipv6/conf/all/forwarding", value: "1" as const, required: true }] : []),
  ];
}
