import { formatIp, type Ip } from "../cni/address.ts";
import { FAMILIES, type Family } from "../cni/default_route.ts";
import { attachmentTag, staleTags, type TaggedAttachment } from "./attachment_tag.ts";
import {
  type Forwarding,
  includesIp,
  type RemovedForwarding,
  sharePort,
  type WantedForwarding,
  wantedPorts,
} from "./forwarding.ts";
import type { Host } from "./host.ts";
import { changeNftScopes, type CommentedNftRule, type NftRule, type NftScope, removeFromNft } from "./nft.ts";
import {
  ALL_PORTS,
  ATTACHMENTS,
  ENTRIES,
  familyWord,
  forwardingOf,
  HOST_IP_PORTS,
  HOST_PORTS,
  hostPortTable,
  isPlainJump,
  MASQUERADING,
  neighbourMatch,
  portMatch,
  sourceMatch,
  tableLines,
  targetOf,
  translation,
} from "./portmap_table.ts";

/** The longest comment of an nftables rule, in bytes. */
const LONGEST_COMMENT = 128;
const LOCALHOST: Ip = { family: 4, value: 0x7f00_0001n };

/**
 * Leads ports of the host to a container, both families in one transaction; replaces the former rules of the attachment.
 * Returns false, and does nothing, if nftables does not work on this machine.
 */
export async function addPortsByNft(
  host: Host,
  attachment: TaggedAttachment,
  wanted: WantedForwarding,
): Promise<boolean> {
  const families = [...wanted.targets.keys()];
  const tag = await attachmentTag(attachment);
  return await changeNftScopes(host, families.map(scopeOf), (listed) =>
    families.flatMap((family, index) => {
      const rules = listed[index] ?? [];
      const ports = wantedPorts(wanted, family);
      const own = ownRules(rules, attachment, tag, ipsOf(wanted, family));
      const taken = rules.filter((rule) => {
        const forwarding = rule.comment === attachment.containerId ? forwardingOf(rule) : undefined;
        return forwarding !== undefined && ports.some((port) => sharePort(port, forwarding.port));
      });
      return [
        ...tableLines(family),
        ...[...new Set([...own, ...taken])].map((rule) => deletion(family, rule)),
        ...leadLines(rules, family, wanted, tag),
        ...portLines(family, attachment, wanted, tag),
      ];
    }));
}

/** The rules of the container itself. */
function portLines(
  family: Family,
  { containerId, ifName }: TaggedAttachment,
  wanted: WantedForwarding,
  tag: string,
): readonly string[] {
  const { config, targets } = wanted;
  const target = targets.get(family);
  if (target === undefined) return [];
  const table = hostPortTable(family);
  const ports = wantedPorts(wanted, family);
  const comment = `comment "${cut(containerId)}"`;
  const sources = config.snat ? [target.ip, ...(family === 4 ? [LOCALHOST] : [])] : [];
  // In front of each rule, not of the way to all of them: the conditions of one network do not concern another.
  const conditions = config.conditions[family].map((word) => `${word} `).join("");
  return [
    ...ports.map((port) =>
      `add rule ${table} ${HOST_PORTS} ${conditions}${portMatch(port, family)} ${
        translation(port, target.ip)
      } ${comment}`
    ),
    ...(config.snat ? ports : []).map((port) =>
      `add rule ${table} ${MASQUERADING} ${neighbourMatch(port, target, config.masqAll)} ${comment}`
    ),
    ...sources.map((source) =>
      `add rule ${table} ${MASQUERADING} ${sourceMatch(source, target.ip)} ${comment}`
    ),
    `add rule ${table} ${ATTACHMENTS} ${familyWord(family)} daddr ${formatIp(target.ip)} return ` +
    `comment "${cut(`${tag}, id: ${containerId}, if: ${ifName}`)}"`,
  ];
}

/**
 * The ways to the rules, as far as they are missing. Where another owner has written conditions into the entry, they stay, and
 * the ports of this container get an entry of their own.
 */
function leadLines(
  rules: readonly NftRule[],
  family: Family,
  wanted: WantedForwarding,
  tag: string,
): readonly string[] {
  const table = hostPortTable(family);
  const leads = [HOST_IP_PORTS, HOST_PORTS].filter((chain) =>
    !rules.some((rule) => rule.chain === ALL_PORTS && isPlainJump(rule, chain))
  );
  return [
    ...leads.map((chain) => `add rule ${table} ${ALL_PORTS} jump ${chain}`),
    ...ENTRIES.flatMap((entry) => {
      const there = rules.filter(({ chain, comment = "" }) => chain === entry && !comment.startsWith(tag));
      if (there.some((rule) => isPlainJump(rule, ALL_PORTS))) return [];
      const begin = `add rule ${table} ${entry} fib daddr type local`;
      if (there.length === 0) return [`${begin} jump ${ALL_PORTS}`];
      return wantedPorts(wanted, family).map((port) =>
        `${begin} ${portMatch(port, family)} jump ${HOST_PORTS} comment "${tag}"`
      );
    }),
  ];
}

/**
 * Removes the rules of an attachment, of both families in one transaction; returns what they did. The rules of the container
 * on other networks have the same comment: those stay that lead to other addresses than those of the attachment.
 */
export async function removePortsByNft(
  host: Host,
  attachment: TaggedAttachment,
  { addresses }: RemovedForwarding,
): Promise<readonly Forwarding[]> {
  const tag = await attachmentTag(attachment);
  return await removeFrom(host, {
    mayGo: ({ comment }) => comment.startsWith(tag) || comment === cut(attachment.containerId),
    select: (rules) => ownRules(rules, attachment, tag, addresses),
  });
}

/** Removes the rules of all other attachments of a network. */
export async function collectPortsOfNft(
  host: Host,
  network: string,
  valid: readonly TaggedAttachment[],
): Promise<void> {
  const isStale = await staleTags(network, valid);
  await removeFrom(host, {
    mayGo: ({ comment }) => isStale(comment),
    select: (rules) => {
      const stale = rules.filter(({ comment = "" }) => isStale(comment));
      return stale.flatMap((rule) => {
        const address = rule.chain === ATTACHMENTS ? targetOf(rule) : undefined;
        const containerId = / id: (?<id>[^,]+)/.exec(rule.comment ?? "")?.groups?.id;
        if (address === undefined || containerId === undefined) return [rule];
        return [rule, ...rulesOf(rules, containerId).filter((one) => isAbout(one, [address]))];
      });
    },
  });
}

async function removeFrom(
  host: Host,
  { mayGo, select }: {
    readonly mayGo: (rule: CommentedNftRule) => boolean;
    readonly select: (rules: readonly NftRule[]) => readonly NftRule[];
  },
): Promise<readonly Forwarding[]> {
  let removed: readonly Forwarding[] = [];
  const plan = (listed: readonly (readonly NftRule[])[]) => {
    const selected = FAMILIES.map((family, index) =>
      [family, [...new Set(select(listed[index] ?? []))]] as const
    );
    removed = selected.flatMap(([, rules]) => rules.flatMap((rule) => forwardingOf(rule) ?? []));
    return selected.flatMap(([family, rules]) => rules.map((rule) => deletion(family, rule)));
  };
  await removeFromNft(host, FAMILIES.map(scopeOf), { mayGo, plan });
  return removed;
}

/**
 * The rules of an attachment. Without known addresses these are the ones of the container that lead to no address of another
 * of its attachments.
 */
function ownRules(
  rules: readonly NftRule[],
  { containerId }: TaggedAttachment,
  tag: string,
  addresses: readonly Ip[],
): readonly NftRule[] {
  const isOfTag = ({ comment = "" }: NftRule) => comment.startsWith(tag);
  const registered = rules.filter(({ chain }) => chain === ATTACHMENTS);
  const own = [...addresses, ...registered.filter(isOfTag).flatMap((rule) => targetOf(rule) ?? [])];
  const others = registered.filter((rule) => !isOfTag(rule)).flatMap((rule) => targetOf(rule) ?? []);
  const ofContainer = rulesOf(rules, containerId);
  return [
    ...rules.filter(isOfTag),
    ...ofContainer.filter((rule) => own.length > 0 ? isAbout(rule, own) : !isAbout(rule, others)),
  ];
}

/** The rules that bear the ID of a container. */
export function rulesOf(rules: readonly NftRule[], containerId: string): readonly NftRule[] {
  const chains: readonly string[] = [HOST_PORTS, HOST_IP_PORTS, MASQUERADING];
  return rules.filter(({ chain, comment }) => comment === cut(containerId) && chains.includes(chain));
}

function isAbout(rule: NftRule, addresses: readonly Ip[]): boolean {
  const target = targetOf(rule);
  return target !== undefined && includesIp(addresses, target);
}

function ipsOf({ targets }: WantedForwarding, family: Family): readonly Ip[] {
  const ip = targets.get(family)?.ip;
  return ip === undefined ? [] : [ip];
}

/** Returns what to list for a family. */
export function scopeOf(family: Family): NftScope {
  return `table ${hostPortTable(family)}`;
}

function deletion(family: Family, { chain, handle }: NftRule): string {
  return `delete rule ${hostPortTable(family)} ${chain} handle ${handle}`;
}

/** Names of containers have one byte for each character. */
function cut(comment: string): string {
  return comment.slice(0, LONGEST_COMMENT);
}
