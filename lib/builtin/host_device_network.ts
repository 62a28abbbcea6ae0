import { type Cidr, formatCidr, formatIp } from "../cni/address.ts";
import type { Route } from "../cni/result.ts";
import type { LinkInfo } from "../host/link_info.ts";
import type { Change, RouteInfo } from "../kernel/operation.ts";
import { cidrsOf } from "./bridge_port.ts";
import type { ContainerPlan } from "./container_plan.ts";
import type { Host } from "./host.ts";
import { routesThrough } from "./host_device_move.ts";
import { copyOf } from "../kernel/route_copy.ts";

/** The addresses and routes that a device has on the host, and what gives them to it in a container. */
export interface DeviceNetwork {
  readonly plan: ContainerPlan;
  readonly operations: readonly Change[];
}

/** RTPROT_KERNEL: such a route comes with its address. */
const OF_KERNEL = 2;

/**
 * Returns the addresses and routes that a device of the host has, for the interface `name` of a container; undefined if it
 * has no addresses. What routers advertise comes by itself.
 */
export async function networkOf(
  host: Host,
  device: LinkInfo,
  name: string,
): Promise<DeviceNetwork | undefined> {
  const global = { ...device, addresses: device.addresses.filter(({ scope }) => scope === "global") };
  const addresses = cidrsOf(global);
  if (addresses.length === 0) return undefined;
  const through = await routesThrough(host, device.name);
  const own = through.filter(({ protocol, isAdvertised }) => protocol !== OF_KERNEL && !isAdvertised)
    // A next hop may be in a network on the link.
    .toSorted((a, b) => Number(hasGateway(a)) - Number(hasGateway(b)));
  return {
    plan: {
      addresses,
      ips: addresses.map((address) => ({
        address: formatCidr(address),
        interface: 0,
        ...gatewayOf(address, own),
      })),
      routes: own.flatMap(routeIn),
    },
    operations: [
      ...addresses.map((address) => ({ kind: "add-address", device: name, address }) as const),
      { kind: "set-link", name, up: true },
      ...own.map((route) => ({ ...copyOf(route), device: name })),
    ],
  };
}

function gatewayOf({ ip }: Cidr, routes: readonly RouteInfo[]): { readonly gateway?: string } {
  const all = routes.find(({ dst }) => dst?.prefix === 0 && dst.ip.family === ip.family);
  const gateway = all?.hops[0]?.gateway;
  return gateway === undefined ? {} : { gateway: formatIp(gateway) };
}

function hasGateway({ hops: [hop] }: RouteInfo): boolean {
  return hop?.gateway !== undefined;
}

function routeIn({ dst, metric, scope, hops: [hop], mtu, advmss }: RouteInfo): Route[] {
  if (dst === undefined) return [];
  const isOnLink = hop?.gateway === undefined;
  return [{
    dst: formatCidr(dst),
    ...(isOnLink ? {} : { gw: formatIp(hop.gateway) }),
    ...(isOnLink && scope !== undefined && dst.ip.family === 4 ? { scope } : {}),
    ...(metric === undefined ? {} : { priority: metric }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
  }];
}
