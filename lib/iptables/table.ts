import { NETLINK } from "../kernel/netlink_constants.ts";
import type { NftHook, NftTable, NftTableChain } from "../kernel/nft_table.ts";
import { nftFamily } from "../kernel/nft_message.ts";
import { Inexpressible } from "./inexpressible.ts";
import { type Family, isKnown, type Rule } from "./rule.ts";
import { formatRule } from "./rule_text.ts";

/** A table of iptables. */
export type IptablesTable = "nat" | "filter";

/** The chains that a table has from the start, in the order in which iptables lists them; made when a rule needs them. */
export const BUILT_IN: Readonly<Record<IptablesTable, Readonly<Record<string, NftHook>>>> = {
  nat: {
    PREROUTING: hook(NETLINK.NF_INET_PRE_ROUTING, "nat", -100),
    INPUT: hook(NETLINK.NF_INET_LOCAL_IN, "nat", 100),
    OUTPUT: hook(NETLINK.NF_INET_LOCAL_OUT, "nat", -100),
    POSTROUTING: hook(NETLINK.NF_INET_POST_ROUTING, "nat", 100),
  },
  filter: {
    INPUT: hook(NETLINK.NF_INET_LOCAL_IN, "filter", 0),
    FORWARD: hook(NETLINK.NF_INET_FORWARD, "filter", 0),
    OUTPUT: hook(NETLINK.NF_INET_LOCAL_OUT, "filter", 0),
  },
};

function hook(number: number, type: string, priority: number): NftHook {
  return { hook: number, type, priority, policy: "accept" };
}

/** A rule with the words after the name of its chain. */
export interface ListedRule {
  readonly handle: number;
  readonly words: string;
}

/** What a rule of the kernel is to iptables. */
export interface ReadRule {
  readonly rule: Rule;
  readonly words: string;
}

/** Returns a rule with its words. */
export function withWords(rule: Rule): ReadRule {
  return { rule, words: formatRule(rule) };
}

/** The content of a table of iptables. */
export interface TableContent {
  /** Whether the table is there at all. */
  readonly isThere: boolean;
  /** The policies of the chains that the table has from the start, of those that are there. */
  readonly policies: ReadonlyMap<string, "accept" | "drop">;
  /** The rules of all chains that are there, by the names of the chains. */
  readonly chains: ReadonlyMap<string, readonly ListedRule[]>;
}

/**
 * Sorts what the kernel has of a table.
 *
 * @throws {Inexpressible} If iptables may not accept the table, or if a rule of a chain that begins with `guarded`, or that
 * leads to one, has unknown parts.
 */
export function contentOf(
  family: Family,
  table: IptablesTable,
  chains: readonly NftTableChain[],
  { rules = [] }: Partial<NftTable<ReadRule>>,
  guarded: string,
): TableContent {
  const own = chains.filter((chain) => chain.family === nftFamily(family) && chain.table === table);
  const policies = new Map<string, "accept" | "drop">();
  const byChain = new Map<string, ListedRule[]>(own.map(({ name }) => [name, []]));
  for (const { name, hook } of own) {
    requireOfIptables(table, name, hook);
    if (hook !== undefined) policies.set(name, hook.policy);
  }
  for (const { chain, handle, content: { rule, words } } of rules) {
    const { target } = rule;
    const leadsTo = target?.kind === "jump" || target?.kind === "goto" ? target.chain : "";
    if (!isKnown(rule) && [chain, leadsTo].some((name) => name.startsWith(guarded))) {
      throw new Inexpressible(`a rule of the chain ${chain}`);
    }
    byChain.get(chain)?.push({ handle, words });
  }
  return { isThere: own.length > 0, policies, chains: byChain };
}

function requireOfIptables(table: IptablesTable, name: string, hook: NftHook | undefined): void {
  const wanted = BUILT_IN[table][name];
  const isSame = wanted?.hook === hook?.hook && wanted?.type === hook?.type &&
    wanted?.priority === hook?.priority;
  if (!isSame) throw new Inexpressible(`the chain ${name} of another owner`);
}

/** Lists a table as `iptables -S` does. */
export function listTable(table: IptablesTable, { policies, chains }: TableContent): readonly string[] {
  const builtIn = Object.keys(BUILT_IN[table]);
  const others = [...chains.keys()].filter((name) => !builtIn.includes(name)).toSorted(byBytes);
  return [
    ...builtIn.map((name) => policyLine(name, policies)),
    ...others.map((name) => `-N ${name}`),
    ...[...builtIn, ...others].flatMap((name) => ruleLines(name, chains)),
  ];
}

/** Lists a chain as `iptables -S CHAIN` does; undefined if it is not there. */
export function listChain(
  table: IptablesTable,
  { policies, chains }: TableContent,
  name: string,
): readonly string[] | undefined {
  if (name in BUILT_IN[table]) return [policyLine(name, policies), ...ruleLines(name, chains)];
  return chains.has(name) ? [`-N ${name}`, ...ruleLines(name, chains)] : undefined;
}

function policyLine(name: string, policies: TableContent["policies"]): string {
  return `-P ${name} ${(policies.get(name) ?? "accept").toUpperCase()}`;
}

function ruleLines(name: string, chains: TableContent["chains"]): readonly string[] {
  return (chains.get(name) ?? []).map(({ words }) => `-A ${name}${words}`);
}

/** Names are of ASCII. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
