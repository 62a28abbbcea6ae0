import type { Family } from "../cni/default_route.ts";
import { all } from "./all.ts";
import type { TaggedAttachment } from "./attachment_tag.ts";
import { includesIp, sharePort, type WantedForwarding, wantedPorts } from "./forwarding.ts";
import type { Host } from "./host.ts";
import { isListed, linesOfChain, listIptables } from "./iptables.ts";
import { formatRange, type PortRange } from "./port_range.ts";
import { type ForwardingRules, listedSources, readForwarding } from "./portmap_chain.ts";
import { DNAT, dnatChain, frameLines, isEntryOf, markingOf } from "./portmap_frame.ts";

/**
 * Returns what is wrong with the rules of an attachment; undefined if nothing is. False if there is no chain of the container
 * in iptables, or iptables does not work here.
 */
export async function checkPortsOfIptables(
  host: Host,
  attachment: TaggedAttachment,
  wanted: WantedForwarding,
): Promise<string | undefined | false> {
  const chain = await dnatChain(attachment);
  const families = [...wanted.targets.keys()];
  const listed = await all(families.map((family) => listIptables(host, family, "nat")));
  if (!listed.some((lines) => lines !== undefined && isListed(lines, `-N ${chain}`))) return false;
  for (const [index, family] of families.entries()) {
    const problem = problemIn(listed[index] ?? [], chain, wanted, family);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function problemIn(
  lines: readonly string[],
  chain: string,
  wanted: WantedForwarding,
  family: Family,
): string | undefined {
  const target = wanted.targets.get(family);
  const ports = wantedPorts(wanted, family);
  if (target === undefined || ports.length === 0) return undefined;
  const [missing] = frameLines(lines, wanted);
  if (missing !== undefined) return `the rule "${missing}" is missing in the table nat of IPv${family}`;
  const jumps = linesOfChain(lines, DNAT).filter((line) => line.endsWith(` -j ${chain}`));
  const rules = readForwarding(lines, chain);
  const marking = markingOf(wanted);
  const sources = marking === undefined ? [] : listedSources(target, marking);
  for (const port of ports) {
    const name = `${formatRange(port)} of IPv${family}`;
    const serving = rules.filter((one) => includesIp([target.ip], one.target) && serves(one.port, port));
    if (coverage(serving, port) < port.count) return `no rule leads ${name} to the container`;
    const isMarked = serving.every(({ marks }) =>
      sources.every((source) => marks.some(([from, by]) => from === source && by === marking?.chain))
    );
    if (!isMarked) return `the rules that masquerade connections to ${name} are missing`;
    if (!jumps.some((jump) => isEntryOf(jump, port))) return `nothing leads to the rules of ${name}`;
  }
  return undefined;
}

/** Whether a rule leads ports of a range to the right ports. */
function serves(rule: PortRange, port: PortRange): boolean {
  return sharePort(rule, port) && rule.containerPort - rule.hostPort === port.containerPort - port.hostPort &&
    (rule.hostIp === undefined
      ? port.hostIp === undefined
      : port.hostIp !== undefined && includesIp([rule.hostIp], port.hostIp));
}

/** How many ports of a range the rules lead to the container. */
function coverage(rules: readonly ForwardingRules[], { hostPort, count }: PortRange): number {
  const served = new Set<number>();
  for (const { port } of rules) {
    const end = Math.min(port.hostPort + port.count, hostPort + count);
    for (let at = Math.max(port.hostPort, hostPort); at < end; at++) served.add(at);
  }
  return served.size;
}
