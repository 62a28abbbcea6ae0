import { type Cidr, compareIp, formatIp, type Ip } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import { type PortRange, portsOfFamily } from "./port_range.ts";
import type { PortmapConfig } from "./portmap_config.ts";

/** What rules do: ports of the host lead to an address. */
export interface Forwarding {
  readonly port: PortRange;
  readonly target: Ip;
}

/** The ports that lead to a container, and how. */
export interface WantedForwarding {
  readonly config: PortmapConfig;
  /** The address of the container in its network, by family. */
  readonly targets: ReadonlyMap<Family, Cidr>;
}

/** Which rules a DEL may remove. */
export interface RemovedForwarding {
  /** The addresses of the attachment; empty if they are not known. */
  readonly addresses: readonly Ip[];
}

/** Returns the ports of one family that lead to a container. */
export function wantedPorts({ config, targets }: WantedForwarding, family: Family): readonly PortRange[] {
  return targets.has(family) ? portsOfFamily(config.ports, family) : [];
}

/** Whether an address is one of several. */
export function includesIp(ips: readonly Ip[], ip: Ip): boolean {
  return ips.some((one) => compareIp(one, ip) === 0);
}

/** Whether two ranges have a port in common. Addresses of the host do not count. */
export function sharePort(a: PortRange, b: PortRange): boolean {
  return a.protocol === b.protocol && a.hostPort < b.hostPort + b.count && b.hostPort < a.hostPort + a.count;
}

/** Returns a name for each port of the host in a range, and the port of the container that it leads to. */
export function* eachPort(
  { protocol, hostIp, hostPort, containerPort, count }: PortRange,
): Generator<readonly [name: string, port: number]> {
  const address = hostIp === undefined ? "" : `${formatIp(hostIp)} `;
  for (let at = 0; at < count; at++) yield [`${address}${hostPort + at}/${protocol}`, containerPort + at];
}
