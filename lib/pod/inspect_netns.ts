import { findForeignAddress } from "../cni/loopback_address.ts";
import { type LinkAddress, type LinkInfo, showLinks } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { LoopbackOptions } from "./loopback.ts";

/** An interface of a pod as the kernel shows it. */
export interface PodLink {
  /** The name of the interface. */
  readonly name: string;
  /** Not every kind of interface has one. */
  readonly mac: string | undefined;
  /** Whether it is up. */
  readonly up: boolean;
  /** All addresses of both families, in the order of the kernel. */
  readonly addresses: readonly LinkAddress[];
}

/** What there is to see in a namespace. */
export interface NetnsLinks {
  /** Why the namespace or its `lo` is not as a pod needs it, in words that stand alone. */
  readonly problem: string | undefined;
  readonly links: readonly PodLink[];
}

/**
 * Looks into a namespace, with one process.
 *
 * Requires root, `--allow-read`, `--allow-run=nsenter`.
 *
 * @throws {CniError} if that cannot be found out
 */
export async function inspectNetns(netns: string, { run, signal }: LoopbackOptions): Promise<NetnsLinks> {
  const gone = async (): Promise<NetnsLinks | undefined> => {
    const problem = await nsProblem(netns);
    return problem === undefined
      ? undefined
      : { problem: `the network namespace "${netns}" ${problem}`, links: [] };
  };
  const missing = await gone();
  if (missing !== undefined) return missing;
  try {
    const links = await showLinks(["addr", "show"], { netns, run, signal });
    return { problem: loopbackProblem(links), links: links.map(asPodLink) };
  } catch (error) {
    const now = signal?.aborted ? undefined : await gone();
    if (now !== undefined) return now;
    throw asCniError(error);
  }
}

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2})+$/;

function loopbackProblem(links: readonly LinkInfo[]): string | undefined {
  const lo = links.find(({ name }) => name === "lo");
  if (lo?.isUp !== true) return "lo is down";
  const foreign = findForeignAddress(lo.addresses.map(({ address }) => address));
  return foreign === undefined ? undefined : `lo has the address ${foreign}, which is not for loopback`;
}

function asPodLink({ name, isUp, mac, addresses }: LinkInfo): PodLink {
  // The address of a tunnel is that of its end.
  return { name, mac: MAC.test(mac) ? mac : undefined, up: isUp, addresses };
}
