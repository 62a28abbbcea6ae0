import { FAMILIES, type Family } from "../cni/default_route.ts";
import { all } from "./all.ts";
import { iptablesChain, type TaggedAttachment } from "./attachment_tag.ts";
import {
  type Forwarding,
  includesIp,
  type RemovedForwarding,
  sharePort,
  type WantedForwarding,
  wantedPorts,
} from "./forwarding.ts";
import type { Host } from "./host.ts";
import { changeIptables, changeListed, deletion, isListed, LONGEST_COMMENT, quote } from "./iptables.ts";
import { forwardingLines, type ForwardingRules, readForwarding } from "./portmap_chain.ts";
import { DNAT, dnatChain, entriesOf, entrySpans, frameLines, isEntryOf, markingOf } from "./portmap_frame.ts";

type Container = Omit<TaggedAttachment, "ifName">;

/**
 * Leads ports of the host to a container; replaces the former rules of the attachment. Those of the container's other
 * interfaces in the network, which have the same chain, stay.
 *
 * Returns false, and does nothing, if iptables does not work on this machine for one of the families.
 */
export async function addPortsByIptables(
  host: Host,
  attachment: TaggedAttachment,
  wanted: WantedForwarding,
): Promise<boolean> {
  const chain = await dnatChain(attachment);
  return await changeListed(host, [...wanted.targets.keys()], {
    table: "nat",
    plan: (lines, family) => planPorts(lines, chain, attachment, wanted, family),
  });
}

function planPorts(
  lines: readonly string[],
  chain: string,
  attachment: TaggedAttachment,
  wanted: WantedForwarding,
  family: Family,
): readonly string[] {
  const { config, targets } = wanted;
  const target = targets.get(family);
  if (target === undefined) return [];
  const ports = wantedPorts(wanted, family);
  const isFormer = ({ port, target: other }: Forwarding) =>
    includesIp([target.ip], other) || ports.some((one) => sharePort(one, port));
  const marking = markingOf(wanted);
  const conditions = config.conditions[family].map(asWord);
  const comment = `-m comment --comment ${quote(commentOf(attachment))}`;
  return [
    ...frameLines(lines, wanted),
    ...isListed(lines, `-N ${chain}`) ? clearance(lines, chain, isFormer) : [`:${chain} - [0:0]`],
    ...ports.flatMap((port) => forwardingLines(chain, port, target, marking)),
    ...entrySpans(config.ports).map(([protocol, list]) =>
      [
        `-A ${DNAT} ${comment} -m multiport -p ${protocol} --destination-ports ${list}`,
        ...conditions,
        `-j ${chain}`,
      ]
        .join(" ")
    ),
  ];
}

/** Removes the rules of a chain that are selected, and what leads to them; without others all that leads to the chain. */
function clearance(
  lines: readonly string[],
  chain: string,
  isSelected: (rules: ForwardingRules) => boolean,
): readonly string[] {
  const rules = readForwarding(lines, chain);
  const kept = rules.filter((one) => !isSelected(one));
  const jumps = lines.filter((line) => line.endsWith(` -j ${chain}`) && line.startsWith("-A "));
  if (kept.length === 0) return [...jumps.map(deletion), `-F ${chain}`];
  return [
    ...jumps.filter((jump) => !kept.some(({ port }) => isEntryOf(jump, port))).map(deletion),
    ...rules.filter(isSelected).flatMap((one) => one.lines.map(deletion)),
  ];
}

/**
 * Removes the rules of an attachment, of both families; returns what they did. Those of the container's other interfaces in
 * the network stay where the addresses of the attachment are known. The chain of the container under another name of the
 * network goes too if all of it leads to these addresses: the network was renamed.
 */
export async function removePortsByIptables(
  host: Host,
  attachment: Container,
  { addresses }: RemovedForwarding,
): Promise<readonly Forwarding[]> {
  const own = await dnatChain(attachment);
  const old = await iptablesChain(attachment, "SN-");
  const isOwn = ({ target }: Forwarding) => addresses.length === 0 || includesIp(addresses, target);
  return await removeFrom(host, (lines) => {
    const renamed = entriesOf(lines).filter(({ containerId, chain }) =>
      containerId === attachment.containerId && chain !== own && addresses.length > 0 &&
      readForwarding(lines, chain).every(isOwn)
    );
    return new Map([own, old, ...renamed.map(({ chain }) => chain)].map((chain) => [chain, isOwn]));
  });
}

/** Removes the rules of all other containers of a network. */
export async function collectPortsOfIptables(
  host: Host,
  network: string,
  valid: readonly Container[],
): Promise<void> {
  const keep = new Set(valid.map(({ containerId }) => containerId));
  await removeFrom(host, async (lines) => {
    const stale = new Map<string, () => true>();
    for (const { name, containerId, chain } of entriesOf(lines)) {
      if (name !== network || keep.has(containerId)) continue;
      // The name of the chain proves that the rule is not a foreign one with a similar comment.
      if (chain === await dnatChain({ network, containerId })) stale.set(chain, () => true);
    }
    return stale;
  });
}

type Select = (rules: ForwardingRules) => boolean;

async function removeFrom(
  host: Host,
  select: (lines: readonly string[]) => ReadonlyMap<string, Select> | Promise<ReadonlyMap<string, Select>>,
): Promise<readonly Forwarding[]> {
  const removed: Forwarding[] = [];
  await all(FAMILIES.map((family) =>
    changeIptables(host, family, "nat", async (list) => {
      const lines = await list() ?? [];
      const chains = [...await select(lines)].filter(([chain]) => lines.includes(`-N ${chain}`));
      return chains.flatMap(([chain, isSelected]) => {
        removed.push(...readForwarding(lines, chain).filter(isSelected));
        const cleared = clearance(lines, chain, isSelected);
        return cleared.includes(`-F ${chain}`) ? [...cleared, `-X ${chain}`] : cleared;
      });
    })
  ));
  return removed;
}

function commentOf({ network, containerId }: Container): string {
  const text = `dnat name: "${network}" id: "${containerId}"`;
  return text.length <= LONGEST_COMMENT ? text : `${text.slice(0, LONGEST_COMMENT - 3)}...`;
}

function asWord(word: string): string {
  return /^[\w.,:/=!@%+-]+$/.test(word) ? word : quote(word);
}
