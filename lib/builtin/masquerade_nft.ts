import { type Cidr, formatCidr, formatIp, networkOf } from "../cni/address.ts";
import { baseOf, HostError, type RunCommand } from "../host/command.ts";
import { attachmentComment, attachmentTag, staleTags, type TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";
import { changeNft, nft, type NftRule, removeFromNft } from "./nft.ts";

/** Table and chains have the names of the CNI plugins project, so that each of the two removes the rules of the other. */
const TABLE = "inet cni_plugins_masquerade";
const CHECKS = "masq_checks";
const CHAIN = `${TABLE} ${CHECKS}`;

export { CHECKS as MASQUERADE_CHAIN, TABLE as MASQUERADE_TABLE };

/**
 * Where this process has seen the chain: only there can the list of its rules and a change be one script, because the list of
 * a missing chain fails.
 */
const withChain = new WeakSet<RunCommand>();

/** The rules of the chain that have a comment: all others are foreign. */
type TaggedRule = Pick<NftRule, "handle"> & { readonly comment: string };

/**
 * Masquerades packets that come from these addresses and leave their network; replaces the former rules of the attachment.
 * Returns false, and does nothing, if nftables does not work on this machine.
 */
export async function addNftRules(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
): Promise<boolean> {
  const tag = await attachmentTag(attachment);
  const comment = await attachmentComment(attachment);
  const frame = [
    `add table ${TABLE}`,
    `add chain ${CHAIN}`,
    `add chain ${TABLE} postrouting { type nat hook postrouting priority srcnat ; }`,
    `flush chain ${TABLE} postrouting`,
    `add rule ${TABLE} postrouting ip daddr == 224.0.0.0/4 return`,
    `add rule ${TABLE} postrouting ip6 daddr == ff00::/8 return`,
    `add rule ${TABLE} postrouting goto masq_checks`,
  ];
  const own = addresses.map((address) => {
    const family = address.ip.family === 4 ? "ip" : "ip6";
    const network = formatCidr(networkOf(address));
    return `add rule ${CHAIN} ${family} saddr == ${formatIp(address.ip)} ${family} daddr != ${network} ` +
      `masquerade comment "${comment}"`;
  });
  const isOwn = (rule: TaggedRule) => rule.comment.startsWith(tag);
  const isKnown = host.batch === undefined && withChain.has(baseOf(host.run));
  const former = isKnown ? await addAndList(host, [...frame, ...own]) : undefined;
  if (former === undefined) {
    return await change(host, (rules) => [...frame, ...rules.filter(isOwn).map(deletion), ...own]);
  }
  const stale = new Set(former.filter(isOwn).map(({ handle }) => handle));
  if (stale.size > 0) await removeRules(host, (rule) => isOwn(rule) && stale.has(rule.handle));
  return true;
}

/** Removes the rules of an attachment; returns whether there were any. */
export async function removeNftRules(host: Host, attachment: TaggedAttachment): Promise<boolean> {
  const tag = await attachmentTag(attachment);
  return await removeRules(host, (rule) => rule.comment.startsWith(tag));
}

/**
 * Makes a change and lists the rules before it with one program; undefined, and nothing is changed, if that is not possible,
 * because another program has removed the chain.
 */
async function addAndList(host: Host, lines: readonly string[]): Promise<readonly TaggedRule[] | undefined> {
  // A list in the same script shows what is there before the script is carried out. In JSON, nft reads no such script.
  const stdin = `${[`list chain ${CHAIN}`, ...lines].join("\n")}\n`;
  try {
    const stdout = await nft(host, ["-a", "-f", "-"], stdin);
    if (stdout.trimEnd().endsWith("}")) return readListing(stdout);
    // The list was cut short; the other way replaces the rules that were added.
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
  }
  withChain.delete(baseOf(host.run));
  return undefined;
}

function readListing(text: string): TaggedRule[] {
  return Array.from(
    text.matchAll(/ comment "(?<comment>[^"]*)" # handle (?<handle>\d+)$/gm),
    ({ groups }) => ({
      comment: groups?.comment ?? "",
      handle: Number(groups?.handle),
    }),
  );
}

/** Removes the rules of all other attachments of a network. */
export async function collectNftRules(
  host: Host,
  network: string,
  valid: readonly TaggedAttachment[],
): Promise<void> {
  const isStale = await staleTags(network, valid);
  await removeRules(host, ({ comment }) => isStale(comment));
}

async function removeRules(host: Host, select: (rule: TaggedRule) => boolean): Promise<boolean> {
  let isFound = false;
  await removeFromNft(host, [`chain ${CHAIN}`], {
    mayGo: select,
    plan: ([rules = []]) => {
      const selected = rules.flatMap(tagged).filter(select);
      isFound ||= selected.length > 0;
      return selected.map(deletion);
    },
  });
  return isFound;
}

function tagged({ handle, comment }: NftRule): readonly TaggedRule[] {
  return comment === undefined ? [] : [{ handle, comment }];
}

function deletion({ handle }: TaggedRule): string {
  return `delete rule ${CHAIN} handle ${handle}`;
}

/** Plans and makes a change of the rules, see {@linkcode changeNft}. */
async function change(
  host: Host,
  plan: (rules: readonly TaggedRule[]) => readonly string[],
): Promise<boolean> {
  let hasChanged = false;
  const works = await changeNft(host, `chain ${CHAIN}`, (rules) => {
    const lines = plan(rules.flatMap(tagged));
    hasChanged = lines.length > 0;
    return lines;
  });
  if (hasChanged) withChain.add(baseOf(host.run));
  return works;
}
