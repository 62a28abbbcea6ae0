import { LAST_PORT } from "../cni/port_protocol.ts";
import type { RunCommand } from "../host/command.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { HostPort } from "./host_port.ts";

/** Ports from the first to the last one, both included. */
export interface PortSpan {
  readonly first: number;
  readonly last: number;
}

/**
 * The ports that podwire chooses from: below those that the kernel gives to connections of the host unless it is configured otherwise,
 * and below the node ports of Kubernetes.
 */
export const AUTOMATIC_PORTS: PortSpan = { first: 20_000, last: 29_999 };

/** A port of a container for which a port of the host is to be chosen. */
export interface AutomaticPort extends Omit<HostPort, "port"> {
  readonly containerPort: number;
  /** As in the capability `portMappings`. */
  readonly hostIP: string;
}

/** A port of a container with the port of the host that was chosen for it. */
export interface ChosenPort extends AutomaticPort, HostPort {}

/** Returns the ports that the kernel gives to connections of this host; undefined if that cannot be read. */
export type FindLocalPorts = (signal: AbortSignal | undefined) => Promise<PortSpan | undefined>;

const LOCAL_PORTS = "net/ipv4/ip_local_port_range";

/** Returns a function that reads the kernel parameter. Permissions: those of `kernelFor`. */
export function findLocalPortsWith(run: RunCommand): FindLocalPorts {
  return async (signal) => {
    try {
      const text = (await kernelFor(run).readSysctls([LOCAL_PORTS], { signal })).get(LOCAL_PORTS) ?? "";
      const [first = NaN, last = NaN] = text.trim().split(/\s+/).map(Number);
      return first >= 1 && first <= last && last <= LAST_PORT ? { first, last } : undefined;
    } catch (error) {
      if (signal?.aborted) throw error;
      return undefined;
    }
  };
}

/**
 * Returns a port of the host for each, in their order; undefined if there are too few. Ports that follow each other in the container
 * get ports that do so on the host, if so many are free: a range has one rule. A port that the kernel may give to a connection
 * of the host is taken only if no other is left, because a program that listens on it later would get nothing.
 *
 * The search begins at `start`, so that a port is used again late: a client may still know the container that had it before.
 */
export async function chooseHostPorts(
  wanted: readonly AutomaticPort[],
  isFree: (port: HostPort) => Promise<boolean>,
  { local, start }: { readonly local: PortSpan | undefined; readonly start: number },
): Promise<readonly ChosenPort[] | undefined> {
  const chosen: ChosenPort[] = [];
  const taken = new Set<string>();
  const candidates = candidatesOf(local, start);
  for (const run of consecutive(wanted)) {
    const free = async (port: number) => {
      const { family, address, protocol } = run[0];
      return !taken.has(`${protocol} ${port}`) && await isFree({ family, address, protocol, port });
    };
    const ports = await freeRun(candidates, run.length, free);
    if (ports === undefined) return undefined;
    for (const [at, port] of ports.entries()) {
      const one = run[at] ?? run[0];
      chosen.push({ ...one, port });
      taken.add(`${one.protocol} ${port}`);
    }
  }
  return chosen;
}

type Run = readonly [AutomaticPort, ...AutomaticPort[]];

function consecutive(wanted: readonly AutomaticPort[]): readonly Run[] {
  const runs: [AutomaticPort, ...AutomaticPort[]][] = [];
  for (const port of wanted) {
    const open = runs.at(-1);
    const last = open?.at(-1);
    const follows = last !== undefined && last.containerPort + 1 === port.containerPort &&
      last.protocol === port.protocol && last.hostIP === port.hostIP;
    if (open !== undefined && follows) open.push(port);
    else runs.push([port]);
  }
  return runs;
}

/** All ports to choose from, those first that the kernel gives to no connection. */
function candidatesOf(local: PortSpan | undefined, start: number): readonly number[] {
  const { first, last } = AUTOMATIC_PORTS;
  const count = last - first + 1;
  const all = Array.from({ length: count }, (_, at) => first + (start + at) % count);
  const isLocal = (port: number) => local !== undefined && port >= local.first && port <= local.last;
  return [...all.filter((port) => !isLocal(port)), ...all.filter(isLocal)];
}

/** Returns so many ports that follow each other, or else the first free ones; undefined if there are fewer. */
async function freeRun(
  candidates: readonly number[],
  count: number,
  isFree: (port: number) => Promise<boolean>,
): Promise<readonly number[] | undefined> {
  const free: number[] = [];
  let length = 0;
  for (const port of candidates) {
    if (!await isFree(port)) {
      length = 0;
      continue;
    }
    length = length > 0 && free.at(-1) === port - 1 ? length + 1 : 1;
    free.push(port);
    if (length === count) return free.slice(-count);
  }
  return free.length < count ? undefined : free.slice(0, count);
}
