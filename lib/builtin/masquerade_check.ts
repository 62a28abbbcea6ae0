import { type Cidr, contains, formatCidr, formatIp, networkOf, parseCidr, parseIp } from "../cni/address.ts";
import { FAMILIES, type Family } from "../cni/default_route.ts";
import { all } from "./all.ts";
import { attachmentTag, iptablesChain, type TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";
import { isListed, linesOfChain, listIptables } from "./iptables.ts";
import type { MasqueradeOptions } from "./masquerade.ts";
import { MASQUERADE_CHAIN, MASQUERADE_TABLE } from "./masquerade_nft.ts";
import { listNft, type NftRule } from "./nft.ts";

/**
 * Returns what is missing of the rules that masquerade an attachment, in the back end that has them; undefined if nothing is.
 * Rules of the CNI plugins project count too: those of its releases before 1.6 are in iptables whatever is requested.
 */
export async function findMasqueradeProblem(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
  { backend }: MasqueradeOptions = {},
): Promise<string | undefined> {
  if (addresses.length === 0) return undefined;
  const checks = backend === "nftables" ? [inNft, inIptables] : [inIptables, inNft];
  for (const check of backend === "iptables" ? [inIptables] : checks) {
    const problem = await check(host, attachment, addresses);
    if (problem !== false) return problem;
  }
  return `no rules of ${backend ?? "iptables or nftables"} masquerade the container any more`;
}

/** False if iptables has no chain of the container, or does not work here. */
async function inIptables(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
): Promise<string | undefined | false> {
  const chain = await iptablesChain(attachment);
  const families = FAMILIES.filter((family) => addresses.some(({ ip }) => ip.family === family));
  const listed = await all(families.map((family) => listIptables(host, family, "nat")));
  if (!listed.some((lines) => lines !== undefined && isListed(lines, `-N ${chain}`))) return false;
  for (const [index, family] of families.entries()) {
    const own = addresses.filter(({ ip }) => ip.family === family);
    const problem = problemIn(listed[index] ?? [], chain, own, family);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function problemIn(
  lines: readonly string[],
  chain: string,
  addresses: readonly Cidr[],
  family: Family,
): string | undefined {
  const rules = linesOfChain(lines, chain).filter((line) => line.startsWith("-A "));
  if (!rules.some((line) => line.endsWith(" -j MASQUERADE"))) {
    return `the chain ${chain} of IPv${family} does not masquerade any more`;
  }
  const jumps = linesOfChain(lines, "POSTROUTING").filter((line) => line.endsWith(` -j ${chain}`));
  // The oldest releases of the CNI plugins project have one jump for the whole network.
  const sources = jumps.flatMap((line) => parseCidr(/(?<!!) -s (\S+) /.exec(line)?.[1] ?? "") ?? []);
  const exempt = rules.filter((line) => line.endsWith(" -j ACCEPT"))
    .map((line) => /(?<!!) -d (\S+) /.exec(line)?.[1]);
  for (const address of addresses) {
    if (!sources.some((source) => contains(source, address.ip))) {
      return `the chain POSTROUTING of IPv${family} does not jump to ${chain} for ${
        formatIp(address.ip)
      } any more`;
    }
    const network = formatCidr(networkOf(address));
    if (!exempt.includes(network)) {
      return `the chain ${chain} of IPv${family} does not exempt the network ${network} any more`;
    }
  }
  return undefined;
}

/** False if nftables has no rule of the attachment, or does not work here. */
async function inNft(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
): Promise<string | undefined | false> {
  const tag = await attachmentTag(attachment);
  const rules = await listNft(host, `table ${MASQUERADE_TABLE}`) ?? [];
  const own = rules.filter(({ chain, comment = "" }) =>
    chain === MASQUERADE_CHAIN && comment.startsWith(tag)
  );
  if (own.length === 0) return false;
  const sources = own.filter(masquerades).map(sourceOf);
  for (const { ip } of addresses) {
    if (!sources.some((source) => source === formatIp(ip))) {
      return `no rule in the chain ${MASQUERADE_CHAIN} masquerades ${formatIp(ip)} any more`;
    }
  }
  const leads = rules.some(({ chain, expr }) =>
    chain === "postrouting" &&
    expr.some((one) => ["goto", "jump"].some((verb) => targetOf(one, verb) !== undefined))
  );
  return leads
    ? undefined
    : `nothing in the chain postrouting of table ${MASQUERADE_TABLE} leads to ${MASQUERADE_CHAIN} any more`;
}

/** What `nft -j` writes of a rule, as far as it matters here. */
interface Statement {
  readonly match?: { readonly op?: unknown; readonly left?: unknown; readonly right?: unknown };
  readonly [verb: string]: unknown;
}

function statementsOf({ expr }: NftRule): readonly Statement[] {
  return expr.filter((one): one is Statement => typeof one === "object" && one !== null);
}

function masquerades(rule: NftRule): boolean {
  return statementsOf(rule).some((one) => "masquerade" in one);
}

function sourceOf(rule: NftRule): string | undefined {
  for (const { match } of statementsOf(rule)) {
    if (match?.op === "==" && JSON.stringify(match.left ?? "").includes('"saddr"')) {
      return textOf(match.right);
    }
  }
  return undefined;
}

function textOf(address: unknown): string | undefined {
  const ip = typeof address === "string" ? parseIp(address) : undefined;
  return ip && formatIp(ip);
}

function targetOf(statement: unknown, verb: string): unknown {
  const found = typeof statement === "object" && statement !== null
    ? (statement as Statement)[verb]
    : undefined;
  const target = typeof found === "object" && found !== null && "target" in found ? found.target : undefined;
  return target === MASQUERADE_CHAIN ? target : undefined;
}
