import {
  compareIp,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  networkOf,
  parseCidr,
  parseIp,
} from "../cni/address.ts";
import { macDigits } from "../cni/mac.ts";
import { LAST_PORT, PROTOCOLS } from "../cni/port_protocol.ts";
import type { Bandwidth, IpRange, PodDns, PortMapping } from "./pod_request.ts";
import type { RefuseMember } from "./setting.ts";

export { macDigits } from "../cni/mac.ts";

const MAC = /^(?:[0-9a-f]{2}(?:([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2})*)|[0-9a-f]{4}(?:\.[0-9a-f]{4})+)$/i;
const MAC_BYTES = [6, 8, 20];
/** A terabit. Larger numbers would be printed with an exponent, which plugins do not read. */
export const MOST_BITS = 1e12;
/** Letters, digits, and the other characters of names that resolvers know, such as `_dmarc.example.org.` */
const DNS_NAME = /^[\p{L}\p{M}\p{N}._-]{1,253}$/u;
/** Names of files and devices: any character that can be seen. */
const VISIBLE = /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]+$/u;
const WORD = /^[^\p{C}\p{Z}]+$/u;

/** Whether Go's net.ParseMAC takes the text: `00:1b:44:11:3a:b7`, `00-1b-...` or `001b.4411.3ab7`. */
export function isMac(text: string): boolean {
  return MAC.test(text) && MAC_BYTES.includes(macDigits(text).length / 2);
}

/** An address in its canonical form; any other text as it is. */
export function normalIp(text: string): string {
  const ip = parseIp(text);
  return ip === undefined ? text : formatIp(ip);
}

/** The address of `ADDRESS[/PREFIX]` in its canonical form, and the length of its prefix if there is one. */
export function wantedIp(text: string): { readonly ip: string; readonly prefix: number | undefined } {
  const cidr = text.includes("/") ? parseCidr(text) : undefined;
  return { ip: cidr === undefined ? normalIp(text) : formatIp(cidr.ip), prefix: cidr?.prefix };
}

/** Checks `defaultRoute`. */
export function requireGateways(defaultRoute: unknown, refuse: RefuseMember): void {
  if (defaultRoute === true) return;
  if (!Array.isArray(defaultRoute)) {
    throw refuse("defaultRoute", `${quoted(defaultRoute)} is neither true nor a list of gateways`);
  }
  for (const [index, text] of defaultRoute.entries()) {
    if (!isIp(text)) throw refuse(`defaultRoute[${index}]`, `${quoted(text)} is not a valid IP address`);
  }
}

/** Checks `mac`. */
export function requireMac(mac: string, refuse: RefuseMember): void {
  if (!isMac(mac)) throw refuse("mac", `unable to parse MAC address "${mac}"`);
}

/** Checks `ips`. */
export function requireIps(ips: readonly string[], refuse: RefuseMember): void {
  const seen = new Set<string>();
  for (const [index, text] of ips.entries()) {
    const isAddress = isIp(text) || (typeof text === "string" && parseCidr(text) !== undefined);
    if (!isAddress) throw refuse(`ips[${index}]`, `unable to parse IP address "${text}"`);
    const { ip: normal } = wantedIp(text);
    if (seen.has(normal)) throw refuse(`ips[${index}]`, `"${text}" is given twice`);
    seen.add(normal);
  }
}

/** Checks `publish`, in which texts have been read. */
export function requirePorts(publish: readonly (PortMapping | string)[], refuse: RefuseMember): void {
  for (const [index, mapping] of publish.entries()) {
    const path = `publish[${index}]`;
    if (typeof mapping === "string") throw refuse(path, `${quoted(mapping)} is not an object`);
    requirePort(path, mapping, refuse);
  }
}

function requirePort(path: string, mapping: PortMapping, refuse: RefuseMember): void {
  for (const member of ["hostPort", "containerPort"] as const) {
    const port = mapping[member];
    if (member === "hostPort" && port === "auto") continue;
    if (typeof port === "number" && Number.isInteger(port) && port >= 1 && port <= LAST_PORT) continue;
    throw refuse(`${path}.${member}`, `${quoted(port)} is not a port from 1 to ${LAST_PORT}`);
  }
  const { protocol = "tcp", hostIP = "" } = mapping;
  if (!PROTOCOLS.includes(protocol)) {
    const known = PROTOCOLS.join(", ");
    throw refuse(`${path}.protocol`, `${quoted(protocol)} is not one of ${known}`);
  }
  if (hostIP !== "" && !isIp(hostIP)) {
    throw refuse(`${path}.hostIP`, `${quoted(hostIP)} is not a valid IP address`);
  }
}

/** Checks `bandwidth`. */
export function requireBandwidth(bandwidth: Bandwidth, refuse: RefuseMember): void {
  for (const direction of ["ingress", "egress"] as const) {
    for (const member of [`${direction}Rate`, `${direction}Burst`] as const) {
      const bits = bandwidth[member];
      if (bits === undefined || (Number.isInteger(bits) && bits >= 1 && bits <= MOST_BITS)) continue;
      const range = `not a whole number from 1 to ${MOST_BITS}`;
      throw refuse(`bandwidth.${member}`, `${quoted(bits)} is ${range}`);
    }
    if (bandwidth[`${direction}Burst`] !== undefined && bandwidth[`${direction}Rate`] === undefined) {
      const path = `bandwidth.${direction}Burst`;
      throw refuse(path, `${bandwidth[`${direction}Burst`]} has no effect without ${direction}Rate`);
    }
  }
}

/** Checks `ipRanges`. */
export function requireIpRanges(ipRanges: readonly (readonly IpRange[])[], refuse: RefuseMember): void {
  for (const [index, ranges] of ipRanges.entries()) requireRanges(`ipRanges[${index}]`, ranges, refuse);
}

function requireRanges(path: string, ranges: readonly IpRange[], refuse: RefuseMember): void {
  if (!Array.isArray(ranges) || ranges.length === 0) {
    throw refuse(path, `${quoted(ranges)} is not a list of ranges`);
  }
  const families = new Set(ranges.map((range, index) => requireRange(`${path}[${index}]`, range, refuse)));
  if (families.size > 1) {
    const subnets = ranges.map(({ subnet }) => subnet).join(", ");
    throw refuse(path, `${subnets} are of both families, but one address is chosen from all of them`);
  }
}

/** Returns the family. */
function requireRange(path: string, range: IpRange, refuse: RefuseMember): 4 | 6 {
  const subnet = parseCidr(String(range.subnet));
  if (subnet === undefined) {
    throw refuse(`${path}.subnet`, `${quoted(range.subnet)} is not a valid subnet`);
  }
  const network = networkOf(subnet);
  if (network.ip.value !== subnet.ip.value) {
    const problem = `${quoted(range.subnet)} has host bits; the subnet is ${formatCidr(network)}`;
    throw refuse(`${path}.subnet`, problem);
  }
  const inside = (member: "rangeStart" | "rangeEnd" | "gateway"): Ip | undefined => {
    const text = range[member];
    if (text === undefined) return undefined;
    const ip = parseIp(String(text));
    const state = ip === undefined
      ? "is not a valid IP address"
      : contains(subnet, ip)
      ? undefined
      : `is not inside ${range.subnet}`;
    if (state !== undefined) throw refuse(`${path}.${member}`, `${quoted(text)} ${state}`);
    return ip;
  };
  const [start, end] = [inside("rangeStart"), inside("rangeEnd")];
  inside("gateway");
  if (start !== undefined && end !== undefined && compareIp(start, end) > 0) {
    const problem = `${quoted(range.rangeStart)} is after rangeEnd ${quoted(range.rangeEnd)}`;
    throw refuse(`${path}.rangeStart`, problem);
  }
  return subnet.ip.family;
}

/** Checks `dns`. */
export function requireDns(
  { servers = [], searches = [], options = [] }: PodDns,
  refuse: RefuseMember,
): void {
  for (const [index, server] of servers.entries()) {
    if (isIp(server)) continue;
    throw refuse(`dns.servers[${index}]`, `${quoted(server)} is not a valid IP address`);
  }
  requireTexts("dns.searches", searches, DNS_NAME, "is not a valid domain", refuse);
  requireTexts("dns.options", options, WORD, "is not a valid option of a resolver", refuse);
}

/** Checks `aliases`. */
export function requireAliases(aliases: readonly string[], refuse: RefuseMember): void {
  requireTexts("aliases", aliases, DNS_NAME, "is not a valid name for a host", refuse);
}

/** Checks the name of a file or of a device. */
export function requireVisible(path: string, text: string, refuse: RefuseMember): void {
  requireTexts(path, [text], VISIBLE, "is empty or has control characters", refuse);
}

function requireTexts(
  path: string,
  texts: readonly string[],
  rule: RegExp,
  state: string,
  refuse: RefuseMember,
): void {
  for (const text of texts) {
    if (typeof text !== "string" || !rule.test(text)) throw refuse(path, `${quoted(text)} ${state}`);
  }
}

function isIp(text: unknown): boolean {
  return typeof text === "string" && parseIp(text) !== undefined;
}

/** Prints any value, as callers may not use TypeScript, and escapes control characters, which must not reach a terminal. */
function quoted(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
