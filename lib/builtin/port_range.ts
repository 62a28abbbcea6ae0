import { formatIp, type Ip } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import type { PortProtocol } from "../cni/port_protocol.ts";

/** Consecutive ports of the host that lead to as many of a container. */
export interface PortRange {
  readonly protocol: PortProtocol;
  /** The IP version; undefined for both. */
  readonly family: Family | undefined;
  /** The one address of the host whose ports they are. @default {all addresses of the family} */
  readonly hostIp: Ip | undefined;
  /** The first port of the host. */
  readonly hostPort: number;
  /** The first port of the container. */
  readonly containerPort: number;
  /** How many. */
  readonly count: number;
}

/** Two requests for one port of the host that lead to different ports of the container. */
export class PortConflict extends Error {
  override readonly name = "PortConflict";

  constructor(one: PortRange, other: PortRange) {
    const ports = [...new Set([one.containerPort, other.containerPort])].join(" and ");
    super(`the host port ${formatRange(one)} leads to the ports ${ports} of the container`);
  }
}

/** Returns the ports of the host as people write them, such as `192.0.2.1:8000-8010/tcp`. */
export function formatRange({ protocol, family, hostIp, hostPort, count }: PortRange): string {
  const any = family === undefined ? "" : family === 4 ? "0.0.0.0" : "::";
  const address = hostIp === undefined ? any : formatIp(hostIp);
  const where = address === "" ? "" : address.includes(":") ? `[${address}]:` : `${address}:`;
  return `${where}${hostPort}${count === 1 ? "" : `-${hostPort + count - 1}`}/${protocol}`;
}

/**
 * Merges requests: the same port twice is one, and ports that follow each other on both sides become a range, so that the
 * number of rules does not grow with the length of a range. Otherwise the order stays, in which the rules are searched; only
 * a port of one address comes before the same port of all addresses, because it would never be found after it.
 *
 * @throws {PortConflict} If a port leads to two ports of the container.
 */
export function mergePorts(ports: readonly PortRange[]): readonly PortRange[] {
  const groups = Map.groupBy(ports.entries(), ([, port]) => placeOf(port));
  const merged = [...groups.values()].flatMap((group) =>
    mergeGroup(group.toSorted(([, a], [, b]) => a.hostPort - b.hostPort))
  );
  const all = merged.toSorted(([a], [b]) => a - b).map(([, port]) => port);
  const everywhere = all.filter(({ hostIp, family }) => hostIp === undefined && family === undefined);
  const kept = all.filter((port) => !isCovered(port, everywhere));
  return hasOverlap(kept)
    ? [...kept.filter(isOfOneAddress), ...kept.filter((port) => !isOfOneAddress(port))]
    : kept;
}

/** Returns those that packets of a family may be for. */
export function portsOfFamily(ports: readonly PortRange[], family: Family): readonly PortRange[] {
  return ports.filter((port) => (port.hostIp?.family ?? port.family ?? family) === family);
}

type Entry = readonly [position: number, port: PortRange];

function placeOf({ protocol, family, hostIp }: PortRange): string {
  return `${protocol} ${hostIp === undefined ? family ?? "" : formatIp(hostIp)}`;
}

/** Merges requests of one place, the lowest port first. A range has the position of the first request in it. */
function mergeGroup(sorted: readonly Entry[]): readonly Entry[] {
  const merged: Entry[] = [];
  for (const entry of sorted) {
    const [at, last] = merged.at(-1) ?? [];
    const [position, next] = entry;
    if (at === undefined || last === undefined || next.hostPort > last.hostPort + last.count) {
      merged.push(entry);
      continue;
    }
    const isSameWay = next.containerPort - next.hostPort === last.containerPort - last.hostPort;
    if (!isSameWay && next.hostPort < last.hostPort + last.count) throw new PortConflict(last, next);
    if (!isSameWay) {
      merged.push(entry);
      continue;
    }
    const count = Math.max(last.count, next.hostPort + next.count - last.hostPort);
    merged[merged.length - 1] = [Math.min(at, position), { ...last, count }];
  }
  return merged;
}

/** Whether requests for both families have a request for one of them already. @throws {PortConflict} */
function isCovered(port: PortRange, everywhere: readonly PortRange[]): boolean {
  if (port.hostIp !== undefined || port.family === undefined) return false;
  const other = everywhere.find((one) =>
    one.protocol === port.protocol && one.hostPort < port.hostPort + port.count &&
    port.hostPort < one.hostPort + one.count
  );
  if (other === undefined) return false;
  if (other.containerPort - other.hostPort !== port.containerPort - port.hostPort) {
    throw new PortConflict(other, port);
  }
  return other.hostPort <= port.hostPort && port.hostPort + port.count <= other.hostPort + other.count;
}

function isOfOneAddress({ hostIp }: PortRange): boolean {
  return hostIp !== undefined;
}

/** Whether a port is asked for both on one address and on all of them. */
function hasOverlap(ports: readonly PortRange[]): boolean {
  const single = ports.filter(isOfOneAddress);
  if (single.length === 0 || single.length === ports.length) return false;
  const taken = new Set<string>();
  for (const { protocol, hostPort, count } of single) {
    for (let port = hostPort; port < hostPort + count; port++) taken.add(`${protocol} ${port}`);
  }
  return ports.some((one) => {
    if (isOfOneAddress(one)) return false;
    for (let port = one.hostPort; port < one.hostPort + one.count; port++) {
      if (taken.has(`${one.protocol} ${port}`)) return true;
    }
    return false;
  });
}
