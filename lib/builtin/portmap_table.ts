import { type Cidr, formatCidr, formatIp, type Ip, networkOf, parseIp } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import { PROTOCOLS } from "../cni/port_protocol.ts";
import type { Forwarding } from "./forwarding.ts";
import type { NftRule } from "./nft.ts";
import type { PortRange } from "./port_range.ts";
import { span } from "./portmap_chain.ts";

// Table and chains have the names of the CNI plugins project, so that each of the two finds the rules of the other.

/** The table of a family, as `nft` takes it. */
export function hostPortTable(family: Family): string {
  return `${familyWord(family)} cni_hostport`;
}

/** The chain with the ports of all containers. */
export const HOST_PORTS = "hostports";
/** Releases of the CNI plugins project before 1.9 have the ports of one address of the host there. */
export const HOST_IP_PORTS = "hostip_hostports";
/** The chain that leads to both. */
export const ALL_PORTS = "hostports_all";
/** The chain that masquerades. */
export const MASQUERADING = "masquerading";
/** Says whose the rules of an address are, because their comments name only the container. Nothing leads to it. */
export const ATTACHMENTS = "podwire_attachments";
/** The chains that every packet passes, with the priority of a translation of destinations. */
export const ENTRIES = ["prerouting", "output"] as const;

const BEFORE_ROUTING = -100;
const AFTER_ROUTING = 100;

/** The lines that make what is missing of the table: chains that are there stay as they are. */
export function tableLines(family: Family): readonly string[] {
  const table = hostPortTable(family);
  return [
    `add table ${table}`,
    ...[HOST_PORTS, HOST_IP_PORTS, ALL_PORTS, ATTACHMENTS].map((chain) => `add chain ${table} ${chain}`),
    ...ENTRIES.map((hook) => hookedChain(table, hook, hook, BEFORE_ROUTING)),
    hookedChain(table, MASQUERADING, "postrouting", AFTER_ROUTING),
  ];
}

function hookedChain(table: string, chain: string, hook: string, priority: number): string {
  return `add chain ${table} ${chain} { type nat hook ${hook} priority ${priority} ; }`;
}

/** Selects packets for ports, of which only those to this machine come here. */
export function portMatch({ protocol, hostIp, hostPort, count }: PortRange, family: Family): string {
  const to = hostIp === undefined ? "" : `${familyWord(family)} daddr ${formatIp(hostIp)} `;
  return `${to}${protocol} dport ${span(hostPort, count, "-")}`;
}

/** Leads ports to an address. */
export function translation({ protocol, hostPort, containerPort, count }: PortRange, target: Ip): string {
  const address = formatIp(target);
  if (count === 1) {
    return `dnat to ${target.family === 6 ? `[${address}]` : address}:${containerPort}`;
  }
  // Without ports each packet keeps its own.
  if (hostPort === containerPort) return `dnat to ${address}`;
  const pairs = Array.from({ length: count }, (_, at) => `${hostPort + at} : ${containerPort + at}`);
  return `dnat to ${address} : ${protocol} dport map { ${pairs.join(", ")} }`;
}

/**
 * Masquerades connections from the pod's own network to its ports: the answers of a neighbour, and of the pod itself, would
 * not come back this way. Only those that were translated: a neighbour that calls the pod's own address stays as it is.
 */
export function neighbourMatch(port: PortRange, target: Cidr, isForAll: boolean): string {
  const family = familyWord(target.ip.family);
  const from = isForAll ? "" : `${family} saddr ${formatCidr(networkOf(target))} `;
  return `meta l4proto ${port.protocol} ct status dnat ct original proto-dst ${
    span(port.hostPort, port.count, "-")
  } ` +
    `${from}${family} daddr ${formatIp(target.ip)} masquerade`;
}

/** Masquerades connections from one address to another, as the CNI plugins project does. */
export function sourceMatch(source: Ip, target: Ip): string {
  const family = familyWord(target.family);
  return `${family} saddr ${formatIp(source)} ${family} daddr ${formatIp(target)} masquerade`;
}

/** `ip` or `ip6` */
export function familyWord(family: Family): string {
  return family === 4 ? "ip" : "ip6";
}

/** What `nft -j` writes of a rule, as far as it matters here. */
interface Expression {
  readonly match?: { readonly left?: unknown; readonly right?: unknown; readonly op?: unknown };
  readonly dnat?: { readonly addr?: unknown; readonly port?: unknown };
  readonly jump?: { readonly target?: unknown };
}

function expressionsOf({ expr }: NftRule): readonly Expression[] {
  return expr.filter((one): one is Expression => typeof one === "object" && one !== null);
}

/** Whether a rule jumps to a chain. */
export function leadsTo(rule: NftRule, target: string): boolean {
  return expressionsOf(rule).at(-1)?.jump?.target === target;
}

/** Whether a rule jumps to a chain, and does nothing else than to ask for an address of this machine. */
export function isPlainJump(rule: NftRule, target: string): boolean {
  const [first, second, ...more] = expressionsOf(rule);
  if (more.length > 0) return false;
  if (second === undefined) return first?.jump?.target === target;
  return JSON.stringify(first?.match?.left ?? "").includes('"fib"') && second.jump?.target === target;
}

/** Returns the address of the container that a rule is about; undefined if it is about none. */
export function targetOf(rule: NftRule): Ip | undefined {
  const expressions = expressionsOf(rule);
  const translated = expressions.find(({ dnat }) => dnat !== undefined)?.dnat?.addr;
  return parseIp(String(translated ?? valueOf(expressions, "daddr") ?? ""));
}

/** Returns which ports a rule leads to which address; undefined if it leads none. */
export function forwardingOf(rule: NftRule): Forwarding | undefined {
  const expressions = expressionsOf(rule);
  const dnat = expressions.find(({ dnat }) => dnat !== undefined)?.dnat;
  const target = parseIp(String(dnat?.addr ?? ""));
  const match = expressions.findLast((one) => fieldOf(one) === "dport")?.match;
  const protocol = PROTOCOLS.find((known) => known === payloadOf(match?.left)?.protocol);
  const [first = NaN, last = first] = numbersIn(match?.right);
  if (target === undefined || protocol === undefined || !(last >= first)) return undefined;
  const hostIp = parseIp(String(valueOf(expressions, "daddr") ?? ""));
  const port = {
    protocol,
    family: target.family,
    hostIp,
    hostPort: first,
    containerPort: firstPort(dnat?.port) ?? first,
    count: last - first + 1,
  };
  return { port, target };
}

/** A number, or the two ends of a range. */
function numbersIn(right: unknown): readonly number[] {
  if (typeof right === "number") return [right];
  const range = isRecord(right) && Array.isArray(right.range) ? right.range : [];
  return range.filter((one) => typeof one === "number");
}

/** The port that the lowest one leads to. */
function firstPort(port: unknown): number | undefined {
  if (typeof port === "number") return port;
  const map = isRecord(port) && isRecord(port.map) ? port.map.data : undefined;
  const pairs = isRecord(map) && Array.isArray(map.set) ? map.set : [];
  const numbers = pairs.flatMap((pair) => Array.isArray(pair) ? [pair.map(Number)] : []);
  const [lowest] = numbers.toSorted(([a = 0], [b = 0]) => a - b);
  return lowest?.[1];
}

/** Conditions of the configuration come first. */
function valueOf(expressions: readonly Expression[], field: string): unknown {
  return expressions.findLast((one) => fieldOf(one) === field && one.match?.op === "==")?.match?.right;
}

function fieldOf({ match }: Expression): unknown {
  return payloadOf(match?.left)?.field;
}

function payloadOf(left: unknown): Readonly<Record<string, unknown>> | undefined {
  return isRecord(left) && isRecord(left.payload) ? left.payload : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
