import { findForeignAddress } from "../cni/loopback_address.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { LinkAddress, LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { LoopbackOptions } from "./loopback.ts";

/** An interface of a pod as the kernel shows it. */
export interface PodLink {
  /** The name of the interface. */
  readonly name: string;
  /** Its MAC address; undefined for a kind of interface that has none. */
  readonly mac: string | undefined;
  /** Whether it is up. */
  readonly up: boolean;
  /** All addresses of both families, in the order of the kernel. */
  readonly addresses: readonly LinkAddress[];
}

/** The interfaces of a namespace, and what is wrong with it. */
export interface NetnsLinks {
  /** A clause that says what is wrong with the namespace or its `lo`; undefined if nothing is. */
  readonly problem: string | undefined;
  readonly links: readonly PodLink[];
}

/**
 * Returns the interfaces of a namespace.
 *
 * Requires root, `--allow-read`, and `--allow-run=ip,nsenter` or the whole `--allow-ffi`.
 *
 * @throws {CniError} if they cannot be found out
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
    const question = { kind: "show-links", addresses: true } as const;
    const [links] = await kernelFor(run).apply([question], { netns, signal });
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
  // A tunnel has the address of its end instead.
  return { name, mac: MAC.test(mac) ? mac : undefined, up: isUp, addresses };
}
