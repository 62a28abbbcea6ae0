import { ipJson } from "../host/link.ts";
import { nsProblem } from "../host/netns.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { foreignAddress, type LoopbackOptions } from "./loopback.ts";

/** An interface of a pod as the kernel shows it. */
export interface PodLink {
  /** The name of the interface. */
  readonly name: string;
  /** Not every kind of interface has one. */
  readonly mac: string | undefined;
  /** Whether it is up. */
  readonly up: boolean;
  /** All addresses of both families, in the order of the kernel. */
  readonly addresses: readonly PodLinkAddress[];
}

/** An address of an interface as the kernel shows it. */
export interface PodLinkAddress {
  /** With prefix length. */
  readonly address: string;
  /** How far it is valid: `global`, `link` for addresses that only this link knows, `host`. */
  readonly scope: string;
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
    const shown = await ipJson(["addr", "show"], { netns, run, signal });
    const links = parseLinks(shown);
    return { problem: loopbackProblem(links), links: links.map(asPodLink) };
  } catch (error) {
    const now = signal?.aborted ? undefined : await gone();
    if (now !== undefined) return now;
    throw asCniError(error);
  }
}

/** What `ip` shows of a link, as far as it matters here. */
interface ShownLink {
  readonly ifname: string;
  readonly flags?: readonly string[];
  readonly address?: string;
  readonly addr_info?: readonly {
    readonly local?: string;
    readonly prefixlen?: number;
    readonly scope?: string;
  }[];
}

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2})+$/;

function parseLinks(shown: unknown): readonly ShownLink[] {
  return Array.isArray(shown) ? shown.filter(({ ifname }) => typeof ifname === "string") : [];
}

function loopbackProblem(links: readonly ShownLink[]): string | undefined {
  const lo = links.filter(({ ifname }) => ifname === "lo");
  if (!lo.some(({ flags = [] }) => flags.includes("UP"))) return "lo is down";
  const foreign = foreignAddress(lo);
  return foreign === undefined ? undefined : `lo has the address ${foreign}, which is not for loopback`;
}

function asPodLink({ ifname: name, flags = [], address = "", addr_info = [] }: ShownLink): PodLink {
  // Of a tunnel, it is the address of its end.
  const mac = MAC.test(address) ? address : undefined;
  const addresses = addr_info.flatMap(({ local, prefixlen, scope = "global" }) =>
    local === undefined ? [] : [{ address: `${local}/${prefixlen}`, scope }]
  );
  return { name, mac, up: flags.includes("UP"), addresses };
}
