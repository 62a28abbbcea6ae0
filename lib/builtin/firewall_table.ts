import { formatIp } from "../cni/address.ts";
import { FAMILIES } from "../cni/default_route.ts";
import { addressesOfFamily, CHAINS, type FirewallNeeds, type Isolation } from "./firewall_needs.ts";
import type { Host } from "./host.ts";
import { wrong } from "./link_check.ts";
import { changeNft, listCommented, listNft, type NftRule } from "./nft.ts";

/** The table for machines without iptables. It can stop packets; what other tables stop, it cannot let pass. */
const TABLE = "inet podwire_firewall";
const SCOPE = `table ${TABLE}` as const;
const { stage1, stage2 } = CHAINS;

/** What the table does for an attachment. */
type TableNeeds = Pick<FirewallNeeds, "adminChain" | "isolation" | "comment" | "addresses" | "dropsInvalid">;

/** The chains of the addresses whose packets need a known connection. */
const INVALID = { 4: "invalid4", 6: "invalid6" } as const;
const INVALID_CHAINS: readonly string[] = Object.values(INVALID);

/** A rule of the table, found again by its comment. */
interface TableRule {
  readonly chain: string;
  readonly comment: string;
  readonly what: string;
  /** Whether it belongs at the top of its chain. */
  readonly isFirst?: boolean | undefined;
}

/**
 * Makes the chain of the administrator, which is never emptied, and the rules that keep bridges apart. Both stand before the
 * other tables. Returns false, and does nothing, if nftables does not work on this machine.
 */
export async function addToTable(
  host: Host,
  needs: TableNeeds,
): Promise<boolean> {
  return await changeNft(host, SCOPE, (rules) => {
    const missing = rulesOf(needs).filter((rule) => !isAmong(rules, rule));
    if (missing.length === 0) return [];
    const chains = [
      needs.adminChain,
      ...(needs.isolation === undefined ? [] : [stage1, stage2]),
      ...(needs.dropsInvalid ? INVALID_CHAINS : []),
    ];
    return [
      `add table ${TABLE}`,
      ...chains.map((chain) => `add chain ${TABLE} ${chain}`),
      `add chain ${TABLE} forward { type filter hook forward priority filter - 5 ; policy accept ; }`,
      ...missing.map(({ chain, comment, what, isFirst }) =>
        `${isFirst ? "insert" : "add"} rule ${TABLE} ${chain} ${what} comment "${comment}"`
      ),
    ];
  });
}

/**
 * Checks that the rules are there.
 *
 * @throws {CniError} naming the first that is missing
 */
export async function checkTable(
  host: Host,
  needs: TableNeeds,
): Promise<void> {
  const rules = await listNft(host, SCOPE) ?? [];
  const missing = rulesOf(needs).find((rule) => !isAmong(rules, rule));
  if (missing === undefined) return;
  throw wrong(
    `the chain ${missing.chain} of table ${TABLE} does not have the rule "${missing.what}" any more`,
  );
}

/** Returns the devices that the table isolates. */
export async function tableDevices(host: Host): Promise<readonly string[]> {
  const rules = await listCommented(host, SCOPE);
  return [...new Set(rules.flatMap((rule) => deviceOf(rule) ?? []))];
}

/** Removes the rules of devices that `findUnused` returns; with the last ones the chains for isolation go too. */
export async function joinInTable(
  host: Host,
  findUnused: (devices: readonly string[]) => Promise<ReadonlySet<string>>,
): Promise<void> {
  const unused = await findUnused(await tableDevices(host));
  if (unused.size === 0) return;
  await changeNft(host, SCOPE, (now) => {
    const gone = now.filter((rule) => unused.has(deviceOf(rule) ?? ""));
    const deletions = gone.map(({ chain, handle }) => `delete rule ${TABLE} ${chain} handle ${handle}`);
    if (now.some((rule) => deviceOf(rule) !== undefined && !gone.includes(rule))) return deletions;
    const jumps = now.filter(({ comment }) => comment === TO_STAGE_1.comment);
    const chains = [stage1, stage2].filter((name) => now.some(({ chain }) => chain === name));
    return [
      ...jumps.map(({ chain, handle }) => `delete rule ${TABLE} ${chain} handle ${handle}`),
      ...chains.map((chain) => `flush chain ${TABLE} ${chain}`),
      ...chains.map((chain) => `delete chain ${TABLE} ${chain}`),
    ];
  });
}

const TO_STAGE_1: TableRule = {
  chain: "forward",
  comment: "isolation",
  what: `jump ${stage1}`,
  isFirst: true,
};

/** The rules in the order in which they are needed: connections to published ports are for everybody. */
function rulesOf({ adminChain, isolation, ...needs }: TableNeeds): TableRule[] {
  const admin = { chain: "forward", comment: `administrator: ${adminChain}`, what: `jump ${adminChain}` };
  const isolating = isolation === undefined ? [] : [TO_STAGE_1, ...isolatingRules(isolation)];
  return [admin, ...isolating, ...(needs.dropsInvalid ? invalidRules(needs) : [])];
}

/** Packets without a known connection: nothing would give them the address of this host. */
function invalidRules({ comment, addresses }: Pick<TableNeeds, "comment" | "addresses">): TableRule[] {
  return FAMILIES.flatMap((family) => {
    const own = addressesOfFamily(addresses, family).map(formatIp);
    if (own.length === 0) return [];
    const chain = INVALID[family];
    const source = `${family === 4 ? "ip" : "ip6"} saddr { ${own.join(", ")} }`;
    return [
      { chain: "forward", comment: chain, what: `ct state invalid jump ${chain}` },
      { chain, comment, what: `${source} drop` },
    ];
  });
}

/** Removes the rules of attachments that drop packets without a known connection, and without the last of them their chains. */
export async function passInvalid(host: Host, isOwn: (comment: string) => boolean): Promise<void> {
  const mayGo = ({ chain, comment = "" }: Pick<NftRule, "chain" | "comment">) =>
    INVALID_CHAINS.includes(chain) && isOwn(comment);
  if (!(await listCommented(host, SCOPE)).some(mayGo)) return;
  await changeNft(host, SCOPE, (now) => {
    const gone = now.filter(mayGo);
    const left = now.filter((rule) => INVALID_CHAINS.includes(rule.chain) && !gone.includes(rule));
    const unused = INVALID_CHAINS.filter((name) => !left.some(({ chain }) => chain === name));
    const jumps = now.filter(({ chain, comment = "" }) => chain === "forward" && unused.includes(comment));
    return [
      ...[...gone, ...jumps].map(({ chain, handle }) => `delete rule ${TABLE} ${chain} handle ${handle}`),
      // One of them may not be there: what is added first can be deleted in any case.
      ...(gone.length === 0 ? [] : unused.flatMap((chain) => [
        `add chain ${TABLE} ${chain}`,
        `delete chain ${TABLE} ${chain}`,
      ])),
    ];
  });
}

function isolatingRules({ bridge, isWithin }: Isolation): TableRule[] {
  const published = {
    chain: stage1,
    comment: "published ports",
    what: "ct status dnat return",
    isFirst: true,
  };
  const between = {
    chain: stage1,
    comment: `between: ${bridge}`,
    what: `iifname "${bridge}" oifname != "${bridge}" jump ${stage2}`,
  };
  const within = {
    chain: stage1,
    comment: `within: ${bridge}`,
    what: `iifname "${bridge}" oifname "${bridge}" drop`,
  };
  const outOf = { chain: stage2, comment: `between: ${bridge}`, what: `oifname "${bridge}" drop` };
  return [published, between, ...(isWithin ? [within] : []), outOf];
}

function isAmong(rules: readonly NftRule[], { chain, comment }: TableRule): boolean {
  return rules.some((rule) => rule.chain === chain && rule.comment === comment);
}

function deviceOf({ chain, comment = "" }: Pick<NftRule, "chain" | "comment">): string | undefined {
  if (chain !== stage1 && chain !== stage2) return undefined;
  return /^(?:between|within): (?<device>\S+)$/.exec(comment)?.groups?.device;
}
