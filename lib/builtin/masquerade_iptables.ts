import {
  bitsOf,
  type Cidr,
  compareIp,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  networkOf,
  parseCidr,
} from "../cni/address.ts";
import { FAMILIES } from "../cni/default_route.ts";
import { all } from "./all.ts";
import { iptablesChain, type TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";
import { changeIptables, changeListed, deletion, listIptables, LONGEST_COMMENT, quote } from "./iptables.ts";

const MULTICAST = { 4: "224.0.0.0/4", 6: "ff00::/8" } as const;

type Container = Omit<TaggedAttachment, "ifName">;

/** Whether the rules of an address stay, because another interface of the container may have it. */
export type IsKept = (ip: Ip) => boolean | Promise<boolean>;

/**
 * Masquerades packets that come from these addresses and leave their network; replaces the former rules of the addresses.
 * The chain does not depend on the interface name, as in the CNI plugins project, which must find the rules made here: it
 * may have rules of the container's other interfaces in the network, and these stay.
 *
 * Returns false, and does nothing, if iptables does not work on this machine for one of the families.
 */
export async function addIptablesRules(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
): Promise<boolean> {
  const chain = await iptablesChain(attachment);
  const comment = `-m comment --comment ${quote(commentOf(attachment))}`;
  const families = FAMILIES.filter((family) => addresses.some(({ ip }) => ip.family === family));
  return await changeListed(host, families, {
    table: "nat",
    chain: "POSTROUTING",
    plan: async (lines, family, list) => {
      const own = addresses.filter(({ ip }) => ip.family === family);
      const jumps = await sortJumps(chain, lines, (ip) => !own.some((address) => isSameIp(address.ip, ip)));
      const isShared = jumps.kept.length > 0;
      const inside = isShared ? await list(chain) ?? [] : [];
      const exempt = exemptIn(chain, inside, jumps.kept);
      const cleared = isShared
        ? [...jumps.gone, ...exempt.unneeded, ...lastRules(chain, inside)].map(deletion)
        : [`:${chain} - [0:0]`, ...jumps.all.map(deletion)];
      const needed = own.filter((address) => !exempt.needed.includes(formatCidr(networkOf(address))));
      return [
        ...cleared,
        ...needed.map((address) => `-A ${chain} -d ${formatCidr(address)} ${comment} -j ACCEPT`),
        `-A ${chain} ! -d ${MULTICAST[family]} ${comment} -j MASQUERADE`,
        ...own.map(({ ip }) => `-A POSTROUTING -s ${formatIp(ip)} ${comment} -j ${chain}`),
      ];
    },
  });
}

/** Removes the jumps to the chain of a container except those that are kept, and without any jump the chain too. */
export async function removeIptablesRules(host: Host, container: Container, isKept: IsKept): Promise<void> {
  await removeRules(host, new Map([[await iptablesChain(container), isKept]]));
}

/**
 * Removes the chains of all other containers of a network. Of a valid container it removes only the rules of addresses for
 * which `isStale` is true: the rules of an interface that is not valid any more stay, unless its address is known.
 */
export async function collectIptablesRules(
  host: Host,
  network: string,
  valid: readonly Container[],
  isStale: (ip: Ip, containerId: string) => Promise<boolean>,
): Promise<void> {
  const keep = new Set(valid.map(({ containerId }) => containerId));
  const stale = new Map<string, IsKept>();
  for (const family of FAMILIES) {
    for (const line of await listIptables(host, family, "nat", "POSTROUTING") ?? []) {
      const containerId = ownerIn(line, network);
      if (containerId === undefined) continue;
      // The name of the chain proves that the rule is not a foreign one with a similar comment.
      const chain = await iptablesChain({ network, containerId });
      if (!line.endsWith(` -j ${chain}`)) continue;
      const source = sourceOf(line);
      if (!keep.has(containerId)) stale.set(chain, () => false);
      else if (source !== undefined && await isStale(source, containerId)) {
        stale.set(chain, async (ip) => !await isStale(ip, containerId));
      }
    }
  }
  if (stale.size > 0) await removeRules(host, stale);
}

async function removeRules(host: Host, chains: ReadonlyMap<string, IsKept>): Promise<void> {
  await all(FAMILIES.map((family) =>
    changeIptables(host, family, "nat", async (list) => {
      const lines = await list() ?? [];
      const there = [...chains].filter(([chain]) => lines.includes(`-N ${chain}`));
      const plans = there.map(([chain, isKept]) => removalOf(chain, lines, isKept));
      return (await all(plans)).flat();
    })
  ));
}

async function removalOf(chain: string, lines: readonly string[], isKept: IsKept): Promise<string[]> {
  const jumps = await sortJumps(chain, lines, isKept);
  if (jumps.kept.length === 0) return [...jumps.all.map(deletion), `-F ${chain}`, `-X ${chain}`];
  return [...jumps.gone, ...exemptIn(chain, lines, jumps.kept).unneeded].map(deletion);
}

/** The jumps to a chain. */
interface Jumps {
  readonly all: readonly string[];
  readonly gone: readonly string[];
  /** The addresses of those that stay. */
  readonly kept: readonly Ip[];
}

/** A jump for a whole network, as the oldest releases of the CNI plugins project made it, goes with the last of the others. */
async function sortJumps(chain: string, lines: readonly string[], isKept: IsKept): Promise<Jumps> {
  const jumps = lines.filter((line) => line.startsWith("-A POSTROUTING ") && line.endsWith(` -j ${chain}`));
  const gone: string[] = [];
  const kept: Ip[] = [];
  for (const jump of jumps) {
    const source = sourceOf(jump);
    if (source === undefined) continue;
    if (await isKept(source)) kept.push(source);
    else gone.push(jump);
  }
  return { all: jumps, gone, kept };
}

/** Returns the one address that a jump is for. */
function sourceOf(jump: string): Ip | undefined {
  const source = parseCidr(/(?<!!) -s (?<source>\S+) /.exec(jump)?.groups?.source ?? "");
  return source?.prefix === (source && bitsOf(source.ip)) ? source?.ip : undefined;
}

/** Sorts the networks that a chain exempts: those that one of the addresses is in, and the rules of the others. */
function exemptIn(
  chain: string,
  lines: readonly string[],
  addresses: readonly Ip[],
): { readonly needed: readonly string[]; readonly unneeded: readonly string[] } {
  const needed: string[] = [];
  const unneeded: string[] = [];
  for (const line of lines) {
    if (!line.startsWith(`-A ${chain} -d `) || !line.endsWith(" -j ACCEPT")) continue;
    const network = parseCidr(line.split(" ")[3] ?? "");
    if (network === undefined) continue;
    if (addresses.some((ip) => contains(network, ip))) needed.push(formatCidr(network));
    else unneeded.push(line);
  }
  return { needed, unneeded };
}

/** Returns the rules that masquerade all the rest: they must come after the exempt networks. */
function lastRules(chain: string, lines: readonly string[]): string[] {
  return lines.filter((line) => line.startsWith(`-A ${chain} `) && line.endsWith(" -j MASQUERADE"));
}

function isSameIp(a: Ip, b: Ip): boolean {
  return compareIp(a, b) === 0;
}

function commentOf({ network, containerId }: Container): string {
  return `name: "${network}" id: "${containerId}"`.slice(0, LONGEST_COMMENT);
}

function ownerIn(line: string, network: string): string | undefined {
  const match = / --comment "name: \\"(?<name>[^"\\]*)\\" id: \\"(?<id>[^"\\]*)\\"" /.exec(line)?.groups;
  return match?.name === network ? match.id : undefined;
}
