import { bitsOf, type Cidr, formatCidr, formatIp, type Ip, networkOf } from "../cni/address.ts";
import type { Result, Route } from "../cni/result.ts";
import type { Change } from "../kernel/operation.ts";
import { containerOperations, type ContainerPlan, needCidr, needIp } from "./container_plan.ts";

/** An address of the container, and its gateway, which the end of the pair on the host has. */
export interface PtpAddress {
  readonly address: Cidr;
  readonly gateway: Ip;
}

/** The addresses and routes of a container and of the end of its pair on the host. */
export interface PtpPlan extends ContainerPlan {
  readonly pairs: readonly PtpAddress[];
}

/** The interface of the container is the second in the result. */
const CONTAINER_INDEX = 1;
/** RT_SCOPE_HOST. The original gives it to the route on the host. */
const SCOPE_HOST = 254;

/** Returns what the result of the IPAM plugin asks for. */
export function planPtp({ ips: given = [], routes = [] }: Partial<Result>): PtpPlan {
  if (given.length === 0) throw new Error("IPAM plugin returned missing IP config");
  const pairs = given.map(({ address, gateway }): PtpAddress => {
    if (gateway === undefined) {
      throw new Error(
        `the IPAM plugin returned no gateway for ${address}, and ptp routes everything through it`,
      );
    }
    return { address: needCidr(address), gateway: needIp(gateway) };
  });
  return {
    ips: given.map((ip) => ({ ...ip, interface: CONTAINER_INDEX })),
    routes,
    addresses: pairs.map(({ address }) => address),
    pairs,
  };
}

/**
 * Returns the operations in the container. The kernel makes a route to the network of each address; a container asks on the
 * link for its neighbours then, which are not there. So all goes through the gateway, and only that is on the link. The routes
 * of the result come before: their next hops may be other addresses of that network.
 */
export function insideOperations(ifName: string, plan: PtpPlan): Change[] {
  const ways = plan.pairs.flatMap(({ address, gateway }): Change[] => {
    const device = ifName;
    const source = address.ip;
    const toGateway = { kind: "add-route", device, dst: alone(gateway), source } as const;
    if (isAlone(address)) return [toGateway];
    return [
      { kind: "remove-route", dst: address, hops: [{ device }] },
      toGateway,
      { kind: "add-route", device, dst: address, gateway, source },
    ];
  });
  return [...containerOperations(ifName, plan), ...ways];
}

/** Returns the operations on the host: the gateways of the container, and the way to it. */
export function outsideOperations(device: string, { pairs }: PtpPlan): Change[] {
  return pairs.flatMap(({ address, gateway }): Change[] => [
    { kind: "add-address", device, address: alone(gateway) },
    {
      kind: "add-route",
      device,
      dst: alone(address.ip),
      scope: address.ip.family === 4 ? SCOPE_HOST : undefined,
    },
  ]);
}

/** Returns the routes of {@linkcode insideOperations} that are not in the result. */
export function ownRoutes({ pairs }: PtpPlan): readonly Route[] {
  return pairs.flatMap(({ address, gateway }): readonly Route[] => [
    { dst: formatCidr(alone(gateway)) },
    ...(isAlone(address) ? [] : [{ dst: formatCidr(networkOf(address)), gw: formatIp(gateway) }]),
  ]);
}

/** Returns an address as a network of its own. */
export function alone(ip: Ip): Cidr {
  return { ip, prefix: bitsOf(ip) };
}

function isAlone({ ip, prefix }: Cidr): boolean {
  return prefix === bitsOf(ip);
}
