import type { Family } from "../cni/default_route.ts";
import { hasChain, positionOf } from "./firewall_iptables.ts";
import { CHAINS, type Isolation } from "./firewall_needs.ts";
import { commentIn, deletion, withoutComment } from "./iptables.ts";
import { wrong } from "./link_check.ts";

const { forward, stage1, stage2 } = CHAINS;

/** How the comments of all releases of the CNI plugins project begin. */
const COMMENT = "CNI firewall plugin rules (ingressPolicy: ";
const PUBLISHED = "-m conntrack --ctstate DNAT -j RETURN";

/**
 * Plans what keeps bridges apart, from the listed lines of the `filter` table, in the chains and with the rules of the CNI
 * plugins project. Before its rules comes one for connections to published ports: these are for everybody.
 */
export function isolatingLines(lines: readonly string[], { bridge, isWithin }: Isolation): string[] {
  const shared = commented("same-bridge|isolated");
  const own = commented(isWithin ? "isolated" : "same-bridge");
  const rule = (chain: string, position: number, what: string, comment: string) =>
    decides(lines, chain, what) ? [] : insertion(lines, chain, position, what, comment);
  const last = (chain: string) =>
    positionOf(lines, chain, "-j RETURN") > 0 ? [] : [`-A ${chain} ${shared} -j RETURN`];
  return [
    ...[stage1, stage2].filter((chain) => !hasChain(lines, chain)).map((chain) => `-N ${chain}`),
    ...atTop(lines, "FORWARD", `-j ${stage1}`, isBeforeForward(lines), shared),
    ...atTop(lines, stage1, PUBLISHED, positionOf(lines, stage1, PUBLISHED) === 1, shared),
    ...rule(stage1, 2, between(bridge), own),
    ...(isWithin ? rule(stage1, 2, within(bridge), own) : []),
    ...last(stage1),
    ...rule(stage2, 1, outOf(bridge), shared),
    ...last(stage2),
  ];
}

/** Inserts a rule at the top of its chain, or moves it there. */
function atTop(
  lines: readonly string[],
  chain: string,
  what: string,
  isThere: boolean,
  comment: string,
): string[] {
  return isThere ? [] : insertion(lines, chain, 1, what, comment);
}

/** Inserts a rule, and removes it from where it is. */
function insertion(
  lines: readonly string[],
  chain: string,
  position: number,
  what: string,
  comment: string,
): string[] {
  const former = lines.filter((line) => withoutComment(line) === `-A ${chain} ${what}`);
  return [...former.map(deletion), `-I ${chain} ${position} ${withComment(what, comment)}`];
}

/** Whether a rule is in its chain, before the one that ends the chain. */
function decides(lines: readonly string[], chain: string, what: string): boolean {
  const [position, end] = [what, "-j RETURN"].map((rule) => positionOf(lines, chain, rule));
  return position !== undefined && position > 0 && (!end || position < end);
}

/** After `CNI-FORWARD`, which accepts, the isolation has nothing to decide about. */
function isBeforeForward(lines: readonly string[]): boolean {
  const [isolation, accepting] = [stage1, forward].map((chain) =>
    positionOf(lines, "FORWARD", `-j ${chain}`)
  );
  return isolation !== undefined && isolation > 0 && (!accepting || isolation < accepting);
}

/** Returns the devices that the listed lines isolate. */
export function isolatedDevices(lines: readonly string[]): readonly string[] {
  return [...new Set(lines.flatMap((line) => deviceOf(line) ?? []))];
}

/** Plans the removal of the rules of devices; with the last ones the chains go too. */
export function joiningLines(lines: readonly string[], devices: ReadonlySet<string>): string[] {
  const inStages = lines.filter((line) =>
    line.startsWith(`-A ${stage1} `) || line.startsWith(`-A ${stage2} `)
  );
  const gone = inStages.filter((line) => devices.has(deviceOf(line) ?? ""));
  const isNeeded = inStages.some((line) =>
    !gone.includes(line) && (deviceOf(line) !== undefined || !commentIn(line).startsWith(COMMENT))
  );
  if (gone.length === 0 || isNeeded) return gone.map(deletion);
  const jumps = lines.filter((line) => line.startsWith("-A ") && line.endsWith(` -j ${stage1}`));
  return [
    ...jumps.map(deletion),
    ...[stage1, stage2].filter((chain) => hasChain(lines, chain)).flatMap((chain) => [`-F ${chain}`]),
    ...[stage1, stage2].filter((chain) => hasChain(lines, chain)).flatMap((chain) => [`-X ${chain}`]),
  ];
}

/**
 * Checks that the rules of an isolation are among the listed lines, in an order in which they do what they should. The rule
 * for published ports is missing where the CNI plugins project made the others.
 *
 * @throws {CniError} naming what is missing
 */
export function checkIsolation(
  lines: readonly string[],
  family: Family,
  { bridge, isWithin }: Isolation,
): void {
  if (!isBeforeForward(lines)) {
    throw wrong(`the chain FORWARD of IPv${family} does not jump to ${stage1} before ${forward}`);
  }
  const needed: readonly (readonly [chain: string, rule: string])[] = [
    [stage1, between(bridge)],
    ...(isWithin ? [[stage1, within(bridge)] as const] : []),
    [stage2, outOf(bridge)],
  ];
  for (const [chain, rule] of needed) {
    if (!decides(lines, chain, rule)) {
      throw wrong(`the chain ${chain} of IPv${family} does not have the rule "${rule}" any more`);
    }
    if (chain === stage1 && positionOf(lines, stage1, PUBLISHED) > positionOf(lines, stage1, rule)) {
      throw wrong(
        `the chain ${chain} of IPv${family} stops connections to published ports of other networks`,
      );
    }
  }
}

/** The device of a rule with a comment of the plugin; undefined for the rules that all devices share, and foreign ones. */
function deviceOf(line: string): string | undefined {
  if (!commentIn(line).startsWith(COMMENT)) return undefined;
  const { incoming, outgoing } =
    /^-A CNI-ISOLATION-STAGE-(?:1 -i (?<incoming>\S+)|2 -o (?<outgoing>\S+)) /.exec(line)?.groups ?? {};
  return incoming ?? outgoing;
}

const between = (bridge: string) => `-i ${bridge} ! -o ${bridge} -j ${stage2}`;
const within = (bridge: string) => `-i ${bridge} -o ${bridge} -j DROP`;
const outOf = (bridge: string) => `-o ${bridge} -j DROP`;

function commented(policy: string): string {
  return `-m comment --comment "${COMMENT}${policy})"`;
}

function withComment(rule: string, comment: string): string {
  return rule.replace(/(?<= |^)-j /, `${comment} -j `);
}
