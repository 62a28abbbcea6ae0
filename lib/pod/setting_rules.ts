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
import { CniError } from "../cni/error.ts";
import { PROTOCOLS } from "../state/host_port.ts";
import type { Bandwidth, IpRange, NetworkSettings, PodDns, PortMapping } from "./pod_request.ts";

const MAC = /^(?:[0-9a-f]{2}(?:([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2})*)|[0-9a-f]{4}(?:\.[0-9a-f]{4})+)$/i;
const MAC_BYTES = [6, 8, 20];
const LAST_PORT = 65_535;
/** A terabit; numbers of that size are still written in plain digits, which is all that plugins read. */
const MOST_BITS = 1e12;
/** Letters, digits and what else stands in names that resolvers know, `_dmarc.example.org.` among them. */
const DNS_NAME = /^[\p{L}\p{M}\p{N}._-]{1,253}$/u;
/** Names of files and devices: anything that shows. */
const SHOWN = /^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]+$/u;
const WORD = /^[^\p{C}\p{Z}]+$/u;

/** As Go's net.ParseMAC: `00:1b:44:11:3a:b7`, `00-1b-...` or `001b.4411.3ab7`. */
export function isMac(text: string): boolean {
  return MAC.test(text) && MAC_BYTES.includes(macDigits(text).length / 2);
}

/** The digits of a MAC address, however it is written. */
export function macDigits(text: string): string {
  return text.toLowerCase().replaceAll(/[:.-]/g, "");
}

/** An address in its one canonical form; what is none as it is. */
export function normalIp(text: string): string {
  const ip = parseIp(text);
  return ip === undefined ? text : formatIp(ip);
}

/** The address of `ADDRESS[/PREFIX]` in its one canonical form, and the length of its prefix if there is one. */
export function wantedIp(text: string): { readonly ip: string; readonly prefix: number | undefined } {
  const cidr = text.includes("/") ? parseCidr(text) : undefined;
  return { ip: cidr === undefined ? normalIp(text) : formatIp(cidr.ip), prefix: cidr?.prefix };
}

/** Tells where a setting is wrong. */
type Refuse = (path: string, msg: string) => CniError;

/**
 * Refuses settings that no plugin could follow.
 *
 * @throws {CniError} kind `usage`, naming network, member and value
 */
export function validateSettings(network: string, settings: NetworkSettings): void {
  const refuse: Refuse = (path, msg) => new CniError("usage", msg, { network, path });
  const { ips = [], mac, publish = [], bandwidth = {}, ipRanges = [], dns = {}, aliases = [] } = settings;
  requireIps(ips, refuse);
  if (mac !== undefined && !isMac(mac)) throw refuse("mac", `unable to parse MAC address "${mac}"`);
  for (const [index, mapping] of publish.entries()) requirePort(`publish[${index}]`, mapping, refuse);
  requireBandwidth(bandwidth, refuse);
  for (const [set, ranges] of ipRanges.entries()) requireRanges(`ipRanges[${set}]`, ranges, refuse);
  requireDns(dns, refuse);
  requireTexts("aliases", aliases, DNS_NAME, "is no name for a host", refuse);
  for (const member of ["deviceID", "cgroupPath"] as const) {
    const value = settings[member];
    if (value !== undefined) {
      requireTexts(member, [value], SHOWN, "is empty or has control characters", refuse);
    }
  }
}

/** A network and whether the pod's default route is to be its own. */
interface DefaultRouteWish {
  readonly network: string;
  readonly defaultRoute: true | readonly string[] | undefined;
}

/**
 * Refuses two default routes for one family, and what is no gateway.
 *
 * @throws {CniError} kind `usage`, naming network, member and value
 */
export function validateDefaultRoutes(wishes: readonly DefaultRouteWish[]): void {
  const owners = new Map<number, string>();
  for (const { network, defaultRoute } of wishes) {
    const refuse: Refuse = (path, msg) => new CniError("usage", msg, { network, path });
    for (const { family, path } of familiesOf(defaultRoute, refuse)) {
      const other = owners.get(family);
      if (other === undefined) owners.set(family, network);
      else {
        const whose = other === network ? `twice for "${network}"` : `for "${other}" and "${network}"`;
        throw refuse(path, `${path}: the default route for IPv${family} is wanted ${whose}`);
      }
    }
  }
}

function familiesOf(
  defaultRoute: DefaultRouteWish["defaultRoute"],
  refuse: Refuse,
): readonly { readonly family: 4 | 6; readonly path: string }[] {
  if (defaultRoute === undefined) return [];
  if (defaultRoute === true) return ([4, 6] as const).map((family) => ({ family, path: "defaultRoute" }));
  if (!Array.isArray(defaultRoute)) {
    throw refuse(
      "defaultRoute",
      `defaultRoute: ${shown(defaultRoute)} is neither true nor a list of gateways`,
    );
  }
  return defaultRoute.map((text: unknown, index) => {
    const path = `defaultRoute[${index}]`;
    const ip = typeof text === "string" ? parseIp(text) : undefined;
    if (ip === undefined) throw refuse(path, `${path}: ${shown(text)} is no IP address`);
    return { family: ip.family, path };
  });
}

function requireIps(ips: readonly string[], refuse: Refuse): void {
  const seen = new Set<string>();
  for (const [index, text] of ips.entries()) {
    const isAddress = isIp(text) || (typeof text === "string" && parseCidr(text) !== undefined);
    if (!isAddress) throw refuse(`ips[${index}]`, `unable to parse IP address "${text}"`);
    const { ip: normal } = wantedIp(text);
    if (seen.has(normal)) throw refuse(`ips[${index}]`, `ips[${index}]: "${text}" is there twice`);
    seen.add(normal);
  }
}

function requirePort(path: string, mapping: PortMapping, refuse: Refuse): void {
  for (const member of ["hostPort", "containerPort"] as const) {
    const port = mapping[member];
    if (Number.isInteger(port) && port >= 1 && port <= LAST_PORT) continue;
    throw refuse(`${path}.${member}`, `${path}.${member}: ${shown(port)} is no port from 1 to ${LAST_PORT}`);
  }
  const { protocol, hostIP } = mapping;
  if (!PROTOCOLS.includes(protocol)) {
    const known = PROTOCOLS.join(", ");
    throw refuse(`${path}.protocol`, `${path}.protocol: ${shown(protocol)} is none of ${known}`);
  }
  if (hostIP !== "" && !isIp(hostIP)) {
    throw refuse(`${path}.hostIP`, `${path}.hostIP: ${shown(hostIP)} is no IP address`);
  }
}

function requireBandwidth(bandwidth: Bandwidth, refuse: Refuse): void {
  for (const direction of ["ingress", "egress"] as const) {
    for (const member of [`${direction}Rate`, `${direction}Burst`] as const) {
      const bits = bandwidth[member];
      if (bits === undefined || (Number.isInteger(bits) && bits >= 1 && bits <= MOST_BITS)) continue;
      const range = `no whole number from 1 to ${MOST_BITS}`;
      throw refuse(`bandwidth.${member}`, `bandwidth.${member}: ${shown(bits)} is ${range}`);
    }
    if (bandwidth[`${direction}Burst`] !== undefined && bandwidth[`${direction}Rate`] === undefined) {
      const path = `bandwidth.${direction}Burst`;
      throw refuse(path, `${path}: ${bandwidth[`${direction}Burst`]} is of no use without ${direction}Rate`);
    }
  }
}

function requireRanges(path: string, ranges: readonly IpRange[], refuse: Refuse): void {
  if (!Array.isArray(ranges) || ranges.length === 0) {
    throw refuse(path, `${path}: ${shown(ranges)} is no list of ranges`);
  }
  const families = new Set(ranges.map((range, index) => requireRange(`${path}[${index}]`, range, refuse)));
  if (families.size > 1) {
    const subnets = ranges.map(({ subnet }) => subnet).join(", ");
    throw refuse(
      path,
      `${path}: ${subnets} are of both families, but one address is chosen from all of them`,
    );
  }
}

/** Gives the family. */
function requireRange(path: string, range: IpRange, refuse: Refuse): 4 | 6 {
  const subnet = parseCidr(String(range.subnet));
  if (subnet === undefined) {
    throw refuse(`${path}.subnet`, `${path}.subnet: ${shown(range.subnet)} is no subnet`);
  }
  const network = networkOf(subnet);
  if (network.ip.value !== subnet.ip.value) {
    const msg = `${path}.subnet: ${shown(range.subnet)} has host bits; the subnet is ${formatCidr(network)}`;
    throw refuse(`${path}.subnet`, msg);
  }
  const inside = (member: "rangeStart" | "rangeEnd" | "gateway"): Ip | undefined => {
    const text = range[member];
    if (text === undefined) return undefined;
    const ip = parseIp(String(text));
    const state = ip === undefined
      ? "is no IP address"
      : contains(subnet, ip)
      ? undefined
      : `is not inside of ${range.subnet}`;
    if (state !== undefined) throw refuse(`${path}.${member}`, `${path}.${member}: ${shown(text)} ${state}`);
    return ip;
  };
  const [start, end] = [inside("rangeStart"), inside("rangeEnd")];
  inside("gateway");
  if (start !== undefined && end !== undefined && compareIp(start, end) > 0) {
    const msg = `${path}.rangeStart: ${shown(range.rangeStart)} is behind rangeEnd ${shown(range.rangeEnd)}`;
    throw refuse(`${path}.rangeStart`, msg);
  }
  return subnet.ip.family;
}

function requireDns({ servers = [], searches = [], options = [] }: PodDns, refuse: Refuse): void {
  for (const [index, server] of servers.entries()) {
    if (isIp(server)) continue;
    throw refuse(`dns.servers[${index}]`, `dns.servers[${index}]: ${shown(server)} is no IP address`);
  }
  requireTexts("dns.searches", searches, DNS_NAME, "is no domain", refuse);
  requireTexts("dns.options", options, WORD, "is no option of a resolver", refuse);
}

function requireTexts(
  path: string,
  texts: readonly string[],
  rule: RegExp,
  state: string,
  refuse: Refuse,
): void {
  for (const text of texts) {
    if (typeof text !== "string" || !rule.test(text)) throw refuse(path, `${path}: ${shown(text)} ${state}`);
  }
}

function isIp(text: unknown): boolean {
  return typeof text === "string" && parseIp(text) !== undefined;
}

/** Callers need not be written in TypeScript, and control characters must not reach a terminal. */
function shown(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
