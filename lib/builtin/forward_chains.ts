import { formatIp, type Ip } from "../cni/address.ts";
import { all } from "./all.ts";
import type { FirewallNeeds, FirewallRemoval } from "./firewall_needs.ts";
import type { Host } from "./host.ts";
import { wrong } from "./link_check.ts";
import {
  changeNft,
  listGuardedTables,
  listNft,
  listNftChains,
  type NftChain,
  type NftRule,
  removeFromNft,
} from "./nft.ts";

/**
 * A chain of nftables through which forwarded packets pass. One that drops wins over all others that accept, so each has to
 * let the packets pass.
 */
export interface ForwardChain extends NftChain {
  /** Whether a packet that no rule accepts is stopped. */
  readonly isDropping: boolean;
  /** Whether only the program that made its table can change it. */
  readonly isGuarded: boolean;
}

/** What opens a chain instead of rules of nftables. */
export type Opener = "iptables" | "firewalld";

/**
 * Rules of nftables make the chains of iptables unusable for iptables. That of firewalld is opened by a zone, which outlives a
 * reload, if firewalld can be asked.
 */
const OPENERS: Readonly<Record<string, Opener>> = {
  "ip filter FORWARD": "iptables",
  "ip6 filter FORWARD": "iptables",
  "inet firewalld filter_FORWARD": "firewalld",
};

/** Returns the chains of other owners; none if nftables does not work on this machine. */
export async function forwardChains(host: Host): Promise<readonly ForwardChain[]> {
  const forward = await foreignChains(host);
  const found = await all(
    forward.map(async (chain) => ({ ...chain, isDropping: await isDropping(host, chain) })),
  );
  const isAsked = found.some((chain) => chain.isDropping && OPENERS[nameOf(chain)] !== "iptables");
  const guarded = isAsked ? await listGuardedTables(host) : new Set();
  return found.map((chain) => ({ ...chain, isGuarded: guarded.has(`${chain.family} ${chain.table}`) }));
}

async function foreignChains(host: Host): Promise<readonly NftChain[]> {
  const chains = await listNftChains(host) ?? [];
  return chains.filter(({ family, table, hook, type }) =>
    hook === "forward" && type === "filter" && table !== "podwire_firewall" &&
    ["ip", "ip6", "inet"].includes(family)
  );
}

/** The last rule of a chain of iptables comes after the jumps that open it. */
async function isDropping(host: Host, chain: NftChain): Promise<boolean> {
  if (chain.policy === "drop") return true;
  if (OPENERS[nameOf(chain)] === "iptables") return false;
  return endsWithStop(await listNft(host, scopeOf(chain)) ?? []);
}

/** Returns the names of the chains that stop packets, and that neither these nor rules of nftables open. */
export function closedChains(
  chains: readonly ForwardChain[],
  openers: readonly Opener[],
): readonly string[] {
  const isClosed = (chain: ForwardChain) => {
    const opener = OPENERS[nameOf(chain)];
    if (!chain.isDropping || opener !== undefined && openers.includes(opener)) return false;
    return opener === "iptables" || chain.isGuarded;
  };
  return chains.filter(isClosed).map((chain) => `${nameOf(chain)} of nftables`);
}

/**
 * Lets the packets of an attachment pass the chains that stop what they do not know, apart from those that one of `openers`
 * opens; replaces its former rules.
 */
export async function openForwardChains(
  host: Host,
  chains: readonly ForwardChain[],
  needs: Pick<FirewallNeeds, "addresses" | "comment">,
  openers: readonly Opener[],
): Promise<void> {
  await all(
    toOpen(chains, openers).map((chain) =>
      changeNft(host, scopeOf(chain), (rules) => {
        const needed = openings(chain, needs.addresses, needs.comment);
        const own = rules.filter(({ comment }) => comment === needs.comment);
        if (own.length === needed.length) return [];
        return [...deletions(chain, own), ...needed];
      })
    ),
  );
}

/** Removes the rules of attachments from the chains of other owners. One that only its owner can change has none. */
export async function closeForwardChains(
  host: Host,
  { isOwn }: Pick<FirewallRemoval, "isOwn">,
): Promise<void> {
  const chains = (await foreignChains(host)).filter((chain) => OPENERS[nameOf(chain)] !== "iptables");
  await all(
    chains.map((chain) =>
      removeFromNft(host, [scopeOf(chain)], {
        mayGo: ({ comment }) => isOwn(comment),
        plan: ([rules = []]) =>
          deletions(chain, rules.filter(({ comment }) => comment !== undefined && isOwn(comment))),
      })
    ),
  );
}

/**
 * Checks that the chains let the packets of an attachment pass.
 *
 * @throws {CniError} naming the chain
 */
export async function checkForwardChains(
  host: Host,
  chains: readonly ForwardChain[],
  { addresses, comment }: Pick<FirewallNeeds, "addresses" | "comment">,
  openers: readonly Opener[],
): Promise<void> {
  for (const chain of toOpen(chains, openers)) {
    const rules = await listNft(host, scopeOf(chain)) ?? [];
    const own = rules.filter((rule) => rule.comment === comment);
    if (own.length >= openings(chain, addresses, comment).length) continue;
    throw wrong(`the chain ${nameOf(chain)} of nftables stops the packets of the container`);
  }
}

/** The names of chains for people. */
export function nameOf({ family, table, name }: NftChain): string {
  return `${family} ${table} ${name}`;
}

/** Those that can have rules of nftables. */
function changeable(chains: readonly ForwardChain[]): readonly ForwardChain[] {
  return chains.filter((chain) => OPENERS[nameOf(chain)] !== "iptables" && !chain.isGuarded);
}

function toOpen(chains: readonly ForwardChain[], openers: readonly Opener[]): readonly ForwardChain[] {
  return changeable(chains).filter((chain) => {
    const opener = OPENERS[nameOf(chain)];
    return chain.isDropping && (opener === undefined || !openers.includes(opener));
  });
}

function openings(chain: NftChain, addresses: readonly Ip[], comment: string): string[] {
  return addresses.filter(({ family }) => isOfFamily(chain, family)).flatMap((ip) => {
    const family = ip.family === 4 ? "ip" : "ip6";
    const rules = ["ct state established,related", "ct status dnat"].map((what) =>
      `${family} daddr ${formatIp(ip)} ${what}`
    );
    const matches = [...rules, `${family} saddr ${formatIp(ip)}`];
    return matches.map((match) => `insert rule ${nameOf(chain)} ${match} accept comment "${comment}"`);
  });
}

function isOfFamily({ family }: NftChain, wanted: 4 | 6): boolean {
  return family === "inet" || family === (wanted === 4 ? "ip" : "ip6");
}

function deletions(chain: NftChain, rules: readonly NftRule[]): string[] {
  return rules.map(({ handle }) => `delete rule ${nameOf(chain)} handle ${handle}`);
}

/** Whether the last rule stops everything that comes to it. */
function endsWithStop(rules: readonly NftRule[]): boolean {
  const last = rules.at(-1)?.expr.flatMap((one) => Object.keys(one as object)) ?? [];
  const deciding = last.filter((what) => !["counter", "log"].includes(what));
  return deciding.length === 1 && ["drop", "reject"].includes(deciding[0] ?? "");
}

function scopeOf(chain: NftChain): `chain ${string}` {
  return `chain ${nameOf(chain)}`;
}
