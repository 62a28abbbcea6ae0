import { bitsOf, formatIp, type Ip } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import { addressesOfFamily, CHAINS, type FirewallNeeds, type FirewallRemoval } from "./firewall_needs.ts";
import { commentIn, deletion, isListed, linesOfChain, quote, withoutComment } from "./iptables.ts";
import { wrong } from "./link_check.ts";

const COMMENTS = {
  forward: "CNI firewall plugin rules",
  admin: "CNI firewall plugin admin overrides",
  published: "podwire: published ports",
  end: "podwire: all other connections",
};

/** The last rule of `CNI-PUBLISHED`: without it another program has emptied the chain. */
const END = `-A ${CHAINS.published} -m comment --comment "${COMMENTS.end}" -j RETURN`;
const INVALID = "-m conntrack --ctstate INVALID";
const TO_PUBLISHED = `-m conntrack --ctstate DNAT -j ${CHAINS.published}`;

/**
 * Plans what lets the packets of addresses pass, from the listed lines of the `filter` table. Chains and rules are those of the
 * CNI plugins project, and `CNI-PUBLISHED` comes to them: with a policy of DROP that project lets no published port
 * through.
 */
export function openingLines(
  lines: readonly string[],
  family: Family,
  { addresses, adminChain, comment, dropsInvalid = false }: FirewallNeeds,
): string[] {
  const own = addressesOfFamily(addresses, family);
  if (own.length === 0) return [];
  const invalid = own.map((ip) => invalidOf(ip, comment));
  const droppedBefore = linesOfChain(lines, CHAINS.forward).filter((line) =>
    isInvalid(line) && own.some((ip) => hostIn(line) === hostOf(ip))
  );
  const published = publishedIn(lines).filter(({ host }) => own.some((ip) => hostOf(ip) === host));
  const isPublished = (ip: Ip) =>
    published.some(({ host, line }) => host === hostOf(ip) && commentIn(line) === comment);
  return [
    // Not `:CHAIN`, which would empty a chain that another process makes meanwhile.
    ...[CHAINS.forward, adminChain, CHAINS.published].filter((chain) => !hasChain(lines, chain)).map((
      chain,
    ) => `-N ${chain}`),
    ...frameLines(lines, adminChain),
    ...droppedBefore.filter((line) => !dropsInvalid || !invalid.includes(line)).map(deletion),
    // Before the rule that lets all packets of the address pass, which may be there already.
    ...(dropsInvalid ? invalid.filter((rule) => !droppedBefore.includes(rule)) : [])
      .map((rule) => insertion(rule, invalidPosition(lines, adminChain))),
    ...own.flatMap(pairOf).filter((rule) => !isListed(lines, rule)),
    // An address has one owner: what remains of a former one goes.
    ...published.filter(({ line }) => commentIn(line) !== comment).map(({ line }) => deletion(line)),
    ...(isListed(lines, END) ? [] : [END]),
    ...own.filter((ip) => !isPublished(ip)).map((ip) =>
      `-I ${CHAINS.published} 1 -d ${hostOf(ip)} -m comment --comment ${quote(comment)} -j ACCEPT`
    ),
  ];
}

/** The jumps, each to the place where the CNI plugins project puts it. */
function frameLines(lines: readonly string[], adminChain: string): string[] {
  const made: string[] = [];
  if (positionOf(lines, "FORWARD", `-j ${CHAINS.forward}`) === 0) {
    // Not before the isolation, which it would undo.
    const position = positionOf(lines, "FORWARD", `-j ${CHAINS.stage1}`) + 1;
    made.push(`-I FORWARD ${position} -m comment --comment "${COMMENTS.forward}" -j ${CHAINS.forward}`);
  }
  const admin = positionOf(lines, CHAINS.forward, `-j ${adminChain}`);
  if (admin === 0) {
    made.push(`-I ${CHAINS.forward} 1 -m comment --comment "${COMMENTS.admin}" -j ${adminChain}`);
  }
  if (positionOf(lines, CHAINS.forward, TO_PUBLISHED) === 0) {
    const comment = `-m comment --comment "${COMMENTS.published}"`;
    made.push(`-I ${CHAINS.forward} ${Math.max(admin, 1) + 1} ${comment} ${TO_PUBLISHED}`);
  }
  return made;
}

/**
 * Plans the removal of rules, from the listed lines of the `filter` table. The rules of an address stay while an attachment
 * that does not go has it: a late DEL must not cut off the next owner.
 */
export function closingLines(
  lines: readonly string[],
  family: Family,
  { isOwn, addresses }: FirewallRemoval,
): string[] {
  const published = publishedIn(lines);
  const own = published.filter(({ line }) => isOwn(commentIn(line)));
  const others = new Set(published.filter((rule) => !own.includes(rule)).map(({ host }) => host));
  const hosts = [...addressesOfFamily(addresses, family).map(hostOf), ...own.map(({ host }) => host)];
  const pairs = new Set(hosts.filter((host) => !others.has(host)).flatMap(pairOfHost));
  const gone = [
    ...lines.filter((line) => pairs.has(line) || (isInvalid(line) && isOwn(commentIn(line)))),
    ...own.map(({ line }) => line),
  ].map(deletion);
  if (!hasChain(lines, CHAINS.published) || others.size > 0) return gone;
  const jump = `-A ${CHAINS.forward} ${TO_PUBLISHED}`;
  const frame = lines.filter((line) => line === END || isSameRule(line, jump));
  // Not emptied: if another process adds a rule meanwhile, the chain must stay.
  return [...gone, ...frame.map(deletion), `-X ${CHAINS.published}`];
}

/**
 * Checks that the rules of an attachment are among the listed lines. An attachment that the CNI plugins project made has no
 * rule in `CNI-PUBLISHED`.
 *
 * @throws {CniError} naming what is missing
 */
export function checkOpening(
  lines: readonly string[],
  family: Family,
  { addresses, adminChain, comment, dropsInvalid = false }: FirewallNeeds,
): void {
  const own = addressesOfFamily(addresses, family);
  if (own.length === 0) return;
  for (const chain of [CHAINS.forward, adminChain]) {
    if (!hasChain(lines, chain)) throw wrong(`the chain ${chain} of IPv${family} is not there any more`);
  }
  const jumps = [["FORWARD", CHAINS.forward], [CHAINS.forward, adminChain]] as const;
  for (const [from, to] of jumps) {
    if (positionOf(lines, from, `-j ${to}`) === 0) {
      throw wrong(`the chain ${from} of IPv${family} does not jump to ${to} any more`);
    }
  }
  for (const rule of own.flatMap(pairOf)) {
    if (!isListed(lines, rule)) throw wrong(`the rule "${rule}" of IPv${family} is not there any more`);
  }
  for (const ip of dropsInvalid ? own : []) {
    const forward = linesOfChain(lines, CHAINS.forward);
    const dropped = forward.indexOf(invalidOf(ip, comment));
    const accepted = pairOf(ip).map((rule) => forward.indexOf(rule));
    if (dropped >= 0 && accepted.every((at) => dropped < at)) continue;
    throw wrong(
      `the chain ${CHAINS.forward} of IPv${family} lets invalid packets of ${formatIp(ip)} pass`,
    );
  }
  if (!hasChain(lines, CHAINS.published)) return;
  if (!isListed(lines, END)) throw wrong(`the chain ${CHAINS.published} of IPv${family} was emptied`);
  if (positionOf(lines, CHAINS.forward, TO_PUBLISHED) === 0) {
    throw wrong(`the chain ${CHAINS.forward} of IPv${family} does not jump to ${CHAINS.published} any more`);
  }
}

/** Whether a chain is among listed lines. */
export function hasChain(lines: readonly string[], chain: string): boolean {
  return isListed(lines, `-N ${chain}`);
}

/** Returns the place of a rule in its chain, whatever its comment is, beginning with 1; 0 if it is not there. */
export function positionOf(lines: readonly string[], chain: string, rule: string): number {
  const inChain = linesOfChain(lines, chain).filter((line) => line.startsWith("-A "));
  return inChain.findIndex((line) => isSameRule(line, `-A ${chain} ${rule}`)) + 1;
}

function isSameRule(line: string, rule: string): boolean {
  return withoutComment(line) === withoutComment(rule);
}

function publishedIn(lines: readonly string[]): { readonly line: string; readonly host: string }[] {
  const begin = `-A ${CHAINS.published} -d `;
  return linesOfChain(lines, CHAINS.published).filter((line) => line.startsWith(begin)).map((line) => ({
    line,
    host: hostIn(line),
  }));
}

/** Behind the jumps, as they are once they have been made. */
function invalidPosition(lines: readonly string[], adminChain: string): number {
  const jumps = [`-j ${adminChain}`, TO_PUBLISHED].map((rule) => positionOf(lines, CHAINS.forward, rule));
  return Math.max(...jumps, jumps.length) + 1;
}

/** The rule that drops packets without a known connection: nothing would give them the address of this host. */
function invalidOf(ip: Ip, comment: string): string {
  return `-A ${CHAINS.forward} -s ${hostOf(ip)} ${INVALID} -m comment --comment ${quote(comment)} -j DROP`;
}

function isInvalid(line: string): boolean {
  return line.startsWith(`-A ${CHAINS.forward} -s `) && line.includes(` ${INVALID} `) &&
    line.endsWith(" -j DROP");
}

/** The address that a rule is for. */
function hostIn(line: string): string {
  return line.split(" ")[3] ?? "";
}

function insertion(rule: string, position: number): string {
  return rule.replace(`-A ${CHAINS.forward}`, `-I ${CHAINS.forward} ${position}`);
}

function pairOf(ip: Ip): string[] {
  return pairOfHost(hostOf(ip));
}

function pairOfHost(host: string): string[] {
  return [
    `-A ${CHAINS.forward} -d ${host} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-A ${CHAINS.forward} -s ${host} -j ACCEPT`,
  ];
}

function hostOf(ip: Ip): string {
  return `${formatIp(ip)}/${bitsOf(ip)}`;
}
