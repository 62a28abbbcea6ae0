import type { Ip } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import { all } from "./all.ts";
import { attachmentTag, type TaggedAttachment } from "./attachment_tag.ts";
import { eachPort, includesIp, type WantedForwarding, wantedPorts } from "./forwarding.ts";
import type { Host } from "./host.ts";
import { listNft, type NftRule } from "./nft.ts";
import { formatRange } from "./port_range.ts";
import { rulesOf, scopeOf } from "./portmap_nft.ts";
import {
  ALL_PORTS,
  ATTACHMENTS,
  ENTRIES,
  forwardingOf,
  HOST_IP_PORTS,
  HOST_PORTS,
  isPlainJump,
  leadsTo,
  MASQUERADING,
  targetOf,
} from "./portmap_table.ts";

/**
 * Returns what is wrong with the rules of an attachment; undefined if nothing is. False if the container has no rules in
 * nftables, or that does not work here.
 */
export async function checkPortsOfNft(
  host: Host,
  attachment: TaggedAttachment,
  wanted: WantedForwarding,
): Promise<string | undefined | false> {
  const families = [...wanted.targets.keys()];
  const listed = await all(families.map((family) => listNft(host, scopeOf(family))));
  const { containerId } = attachment;
  if (!listed.some((rules) => rules !== undefined && rulesOf(rules, containerId).length > 0)) return false;
  const tag = await attachmentTag(attachment);
  for (const [index, family] of families.entries()) {
    const problem = problemIn(listed[index] ?? [], containerId, tag, wanted, family);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function problemIn(
  rules: readonly NftRule[],
  containerId: string,
  tag: string,
  wanted: WantedForwarding,
  family: Family,
): string | undefined {
  const target = wanted.targets.get(family)?.ip;
  const ports = wantedPorts(wanted, family);
  if (target === undefined || ports.length === 0) return undefined;
  const own = rulesOf(rules, containerId);
  const served = servedPorts(own, target);
  for (const port of ports) {
    const name = `${formatRange(port)} of IPv${family}`;
    for (const [one, to] of eachPort(port)) {
      if (served.get(one) !== to) return `no rule leads ${name} to the container`;
    }
  }
  const isOurs = rules.some(({ chain, comment = "" }) => chain === ATTACHMENTS && comment.startsWith(tag));
  for (const entry of ENTRIES) {
    // The CNI plugins project writes conditions into the entry of all containers.
    const isEntry = (rule: NftRule) =>
      isOurs
        ? isPlainJump(rule, ALL_PORTS) || (rule.comment ?? "").startsWith(tag)
        : leadsTo(rule, ALL_PORTS);
    if (!rules.some((rule) => rule.chain === entry && isEntry(rule))) {
      return `nothing in the chain ${entry} leads to the ports of IPv${family}`;
    }
  }
  if (!rules.some((rule) => rule.chain === ALL_PORTS && isPlainJump(rule, HOST_PORTS))) {
    return `nothing in the chain ${ALL_PORTS} leads to the ports of IPv${family}`;
  }
  const masquerading = own.filter((rule) => rule.chain === MASQUERADING && isOf(rule, target));
  // The CNI plugins project masquerades for the pod and for this machine only, and so has fewer.
  const needed = (family === 4 ? 2 : 1) + (isOurs ? ports.length : 0);
  if (wanted.config.snat && masquerading.length < needed) {
    return `the rules that masquerade connections to the ports of IPv${family} are missing`;
  }
  return undefined;
}

/** The ports of the host by name, with the ports of the container that they lead to. */
function servedPorts(rules: readonly NftRule[], target: Ip): ReadonlyMap<string, number> {
  const served = new Map<string, number>();
  for (const rule of rules) {
    if (rule.chain !== HOST_PORTS && rule.chain !== HOST_IP_PORTS) continue;
    const forwarding = forwardingOf(rule);
    if (forwarding === undefined || !includesIp([target], forwarding.target)) continue;
    for (const [one, to] of eachPort(forwarding.port)) {
      if (!served.has(one)) served.set(one, to);
    }
  }
  return served;
}

function isOf(rule: NftRule, target: Ip): boolean {
  const ip = targetOf(rule);
  return ip !== undefined && includesIp([target], ip);
}
