import { type Cidr, contains, formatCidr, formatIp, type Ip, networkOf } from "../cni/address.ts";
import type { IpConfig, Result, Route } from "../cni/result.ts";
import type { Change } from "../kernel/operation.ts";
import type { BridgeConfig } from "./bridge_config.ts";
import { type ContainerPlan, needCidr, needIp } from "./container_plan.ts";

/** The addresses and routes of the container and the bridge, made from the result of the IPAM plugin. */
export interface AddressPlan extends ContainerPlan {
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

/** The interface that gets the addresses of the gateways. */
export interface AddressedDevice {
  readonly device: string;
  readonly forceAddress: boolean;
  /** Addresses that nothing uses any more. @default {none} */
  readonly unused?: readonly string[] | undefined;
  /** How many ports the bridge has beside that of the ADD. @default {not known} */
  readonly ports?: number | undefined;
}

/** Whether an interface has an address that keeps it from getting one of the needed ones. */
export function hasConflict(present: readonly Cidr[], needed: readonly Cidr[]): boolean {
  return needed.some((address) =>
    !present.some((other) => formatCidr(other) === formatCidr(address)) &&
    present.some((other) => conflicts(other, address))
  );
}

/**
 * Returns the operations that give the bridge, or the gateway of its VLAN, its missing addresses. Another address is a
 * conflict if it is IPv4 or of an overlapping network; it is removed only if it is unused, or with `forceAddress`.
 */
export function bridgeAddressOperations(
  { device, forceAddress, unused = [], ports }: AddressedDevice,
  present: readonly Cidr[],
  needed: readonly Cidr[],
): Change[] {
  const operations: Change[] = [];
  for (const address of needed) {
    const text = formatCidr(address);
    if (present.some((other) => formatCidr(other) === text)) continue;
    for (const other of present.filter((other) => conflicts(other, address))) {
      if (!forceAddress && !unused.includes(formatCidr(other))) {
        const used = ports === undefined ? "" : `, and ${ports} other ${ports === 1 ? "port" : "ports"}`;
        throw new Error(
          `"${device}" already has an IP address different from ${text}: ${formatCidr(other)}${used}; ` +
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
