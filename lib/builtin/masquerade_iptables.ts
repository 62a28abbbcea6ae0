import { type Cidr, formatCidr, formatIp } from "../cni/address.ts";
import { HostError, runOk } from "../host/command.ts";
import { all } from "./all.ts";
import { iptablesChain, type TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";

/** The two programs, each for one family. */
const PROGRAMS = { 4: "iptables", 6: "ip6tables" } as const;
const MULTICAST = { 4: "224.0.0.0/4", 6: "ff00::/8" } as const;
const FAMILIES = [4, 6] as const;

/** If another process removes a rule between the listing and the change, the whole change fails. */
const ATTEMPTS = 4;

/** Exit code of iptables if another process holds its lock for too long, or if a privilege is missing. */
const RESOURCE_PROBLEM = 4;

/** The longest comment of xtables, without the closing zero byte. */
const LONGEST_COMMENT = 255;

type Family = 4 | 6;

/**
 * Masquerades packets that come from these addresses and leave their network; replaces the former rules of the container.
 * The chain does not depend on the interface name, as in the CNI plugins project, which must find the rules made here.
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
  const listed = await all(families.map((family) => listNat(host, family, ["POSTROUTING"])));
  if (listed.includes(undefined)) return false;
  await all(families.map((family, index) => {
    const own = addresses.filter(({ ip }) => ip.family === family);
    let known = listed[index];
    return retryOnConflict(host, family, async () => {
      const lines = known ?? await listNat(host, family, ["POSTROUTING"]) ?? [];
      known = undefined;
      return [
        `:${chain} - [0:0]`,
        ...jumpsTo(chain, lines).map(deletion),
        ...own.map((address) => `-A ${chain} -d ${formatCidr(address)} ${comment} -j ACCEPT`),
        `-A ${chain} ! -d ${MULTICAST[family]} ${comment} -j MASQUERADE`,
        ...own.map(({ ip }) => `-A POSTROUTING -s ${formatIp(ip)} ${comment} -j ${chain}`),
      ];
    });
  }));
  return true;
}

/** Removes the chains of a container and the jumps to them, if there are any, for all addresses. */
export async function removeIptablesRules(
  host: Host,
  attachment: Omit<TaggedAttachment, "ifName">,
): Promise<void> {
  await removeChains(host, [await iptablesChain(attachment)]);
}

/** Removes the chains of all other containers of a network. */
export async function collectIptablesRules(
  host: Host,
  network: string,
  valid: readonly Omit<TaggedAttachment, "ifName">[],
): Promise<void> {
  const keep = new Set(valid.map(({ containerId }) => containerId));
  const stale = new Set<string>();
  for (const family of FAMILIES) {
    for (const line of await listNat(host, family, ["POSTROUTING"]) ?? []) {
      const containerId = ownerIn(line, network);
      if (containerId === undefined || keep.has(containerId)) continue;
      // The name of the chain proves that the rule is not a foreign one with a similar comment.
      const chain = await iptablesChain({ network, containerId });
      if (line.endsWith(` -j ${chain}`)) stale.add(chain);
    }
  }
  if (stale.size > 0) await removeChains(host, [...stale]);
}

async function removeChains(host: Host, chains: readonly string[]): Promise<void> {
  await all(FAMILIES.map((family) =>
    retryOnConflict(host, family, async () => {
      const lines = await listNat(host, family, []) ?? [];
      const there = chains.filter((chain) => lines.includes(`-N ${chain}`));
      return [
        ...there.flatMap((chain) => jumpsTo(chain, lines).map(deletion)),
        ...there.map((chain) => `-F ${chain}`),
        ...there.map((chain) => `-X ${chain}`),
      ];
    })
  ));
}

function commentOf({ network, containerId }: Omit<TaggedAttachment, "ifName">): string {
  return `name: "${network}" id: "${containerId}"`.slice(0, LONGEST_COMMENT);
}

function quote(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

function ownerIn(line: string, network: string): string | undefined {
  const match = / --comment "name: \\"(?<name>[^"\\]*)\\" id: \\"(?<id>[^"\\]*)\\"" /.exec(line)?.groups;
  return match?.name === network ? match.id : undefined;
}

function jumpsTo(chain: string, lines: readonly string[]): string[] {
  return lines.filter((line) => line.startsWith("-A POSTROUTING ") && line.endsWith(` -j ${chain}`));
}

function deletion(line: string): string {
  return line.replace(/^-A /, "-D ");
}

async function retryOnConflict(host: Host, family: Family, plan: () => Promise<string[]>): Promise<void> {
  for (let attempt = 1;; attempt++) {
    const lines = await plan();
    if (lines.length === 0) return;
    try {
      await runOk(host.run, {
        program: `${PROGRAMS[family]}-restore`,
        args: ["-w", "--noflush"],
        stdin: ["*nat", ...lines, "COMMIT", ""].join("\n"),
        signal: host.signal,
      });
      return;
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "program-failed" || attempt === ATTEMPTS) {
        throw error;
      }
    }
  }
}

/** Lists the rules of the `nat` table, or of one of its chains; undefined if there is no iptables for that family. */
async function listNat(host: Host, family: Family, chain: readonly string[]): Promise<string[] | undefined> {
  try {
    const request = {
      program: PROGRAMS[family],
      args: ["-w", "-t", "nat", "-S", ...chain],
      signal: host.signal,
    };
    return (await runOk(host.run, request)).stdout.split("\n");
  } catch (error) {
    if (!(error instanceof HostError) || error.code === RESOURCE_PROBLEM) throw error;
    return undefined;
  }
}
