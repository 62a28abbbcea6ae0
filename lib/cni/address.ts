/** An IP address as a number; `family` decides how many of its bits count (32 or 128). */
export interface Ip {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** An address with the length of its network prefix, as in `10.1.2.3/24`. Bits after the prefix are kept. */
export interface Cidr {
  readonly ip: Ip;
  readonly prefix: number;
}

const IPV4_PART = /^(?:0|[1-9]\d{0,2})$/;
const IPV6_GROUP = /^[0-9a-f]{1,4}$/i;
const PREFIX = /^0*\d{1,3}$/;

/** `::ffff:0:0/96` without its lower 32 bits: the place of IPv4 addresses inside IPv6 (RFC 4291, section 2.5.5.2). */
const MAPPED = 0xffffn;

/**
 * Reads an IPv4 or IPv6 address; `undefined` when the text is neither.
 *
 * An IPv4-mapped IPv6 address becomes its IPv4 address. Leading zeros in IPv4 (which some readers take
 * for octal), zones (`fe80::1%eth0`) and blanks are refused.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseIp } from "./address.ts";
 *
 * assertEquals(parseIp("10.0.0.1"), { family: 4, value: 0x0a000001n });
 * assertEquals(parseIp("010.0.0.1"), undefined);
 * ```
 */
export function parseIp(text: string): Ip | undefined {
  const ip = parseUnmapped(text);
  return ip && unmapped(ip);
}

function unmapped(ip: Ip): Ip {
  return ip.family === 6 && ip.value >> 32n === MAPPED ? { family: 4, value: ip.value & 0xffffffffn } : ip;
}

function parseUnmapped(text: string): Ip | undefined {
  const family = text.includes(":") ? 6 : 4;
  const value = family === 6 ? parseIpv6(text) : parseIpv4(text);
  return value === undefined ? undefined : { family, value };
}

function parseIpv4(text: string): bigint | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => IPV4_PART.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return BigInt(parts.reduce((value, part) => value * 256 + Number(part), 0));
}

function parseIpv6(text: string): bigint | undefined {
  const halves = withoutDottedTail(text)?.split("::");
  if (halves === undefined || halves.length > 2) return undefined;
  const [head, tail] = halves.map(parseGroups);
  if (head === undefined) return undefined;
  if (halves.length === 1) return head.length === 8 ? join(head) : undefined;
  if (tail === undefined || head.length + tail.length > 7) return undefined;
  return join([...head, ...Array<string>(8 - head.length - tail.length).fill("0"), ...tail]);
}

/** Writes an IPv4 address at the end, as in `64:ff9b::192.0.2.1`, as two groups. */
function withoutDottedTail(text: string): string | undefined {
  const start = text.lastIndexOf(":") + 1;
  if (!text.includes(".", start)) return text;
  const tail = parseIpv4(text.slice(start));
  return tail === undefined
    ? undefined
    : `${text.slice(0, start)}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`;
}

function parseGroups(text: string): string[] | undefined {
  const groups = text === "" ? [] : text.split(":");
  return groups.every((group) => IPV6_GROUP.test(group)) ? groups : undefined;
}

function join(groups: readonly string[]): bigint {
  return BigInt(`0x${groups.map((group) => group.padStart(4, "0")).join("")}`);
}

/**
 * Prints an address in its one canonical form: dotted decimal, or lower-case IPv6 with the longest run of zero groups
 * shortened (RFC 5952).
 */
export function formatIp(ip: Ip): string {
  if (ip.family === 4) {
    const value = Number(ip.value);
    return [24, 16, 8, 0].map((shift) => value >>> shift & 0xff).join(".");
  }
  const digits = ip.value.toString(16).padStart(32, "0");
  const groups = Array.from({ length: 8 }, (_, index) => {
    return digits.slice(4 * index, 4 * index + 4).replace(/^0{1,3}/, "");
  });
  const { start, length } = longestZeroRun(groups);
  if (length < 2) return groups.join(":");
  return `${groups.slice(0, start).join(":")}::${groups.slice(start + length).join(":")}`;
}

function longestZeroRun(groups: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, group] of groups.entries()) {
    if (group !== "0") start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  }
  return best;
}

/**
 * Reads an address with prefix length; `undefined` when the text is not one.
 *
 * An IPv4-mapped IPv6 address becomes IPv4 with the prefix 96 shorter; a mapped one with a prefix below 96 is not
 * an IPv4 network and is refused. Leading zeros are allowed in the prefix length: unlike those in an address, they have
 * one meaning only.
 */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  const length = text.slice(slash + 1);
  if (slash < 0 || !PREFIX.test(length)) return undefined;
  const written = parseUnmapped(text.slice(0, slash));
  if (written === undefined || Number(length) > bitsOf(written)) return undefined;
  const ip = unmapped(written);
  const prefix = Number(length) - (bitsOf(written) - bitsOf(ip));
  return prefix < 0 ? undefined : { ip, prefix };
}

const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const PLAIN_CIDR4 = new RegExp(`^${BYTE}(?:\\.${BYTE}){3}/(?:3[0-2]|[12]?\\d)$`);

/**
 * Whether an IPv4 address with prefix length is written as {@linkcode formatCidr} prints it. A look that takes a tenth of
 * reading and printing it.
 */
export function isPlainCidr4(text: string): boolean {
  return PLAIN_CIDR4.test(text);
}

/** Prints an address with its prefix length, the address as {@linkcode formatIp} does. */
export function formatCidr(cidr: Cidr): string {
  return `${formatIp(cidr.ip)}/${cidr.prefix}`;
}

/** Number of bits of an address of that family. */
export function bitsOf(ip: Ip): 32 | 128 {
  return ip.family === 4 ? 32 : 128;
}

/** The network that an address is in: the same prefix with all host bits zero. */
export function networkOf(cidr: Cidr): Cidr {
  const host = hostBits(cidr);
  return { ip: { family: cidr.ip.family, value: cidr.ip.value >> host << host }, prefix: cidr.prefix };
}

/** The last address of the network that an address is in; in IPv4 that is the broadcast address. */
export function lastOf(cidr: Cidr): Ip {
  return { family: cidr.ip.family, value: cidr.ip.value | (1n << hostBits(cidr)) - 1n };
}

/** Whether an address is in a network; addresses of the other family never are. */
export function contains(network: Cidr, ip: Ip): boolean {
  return network.ip.family === ip.family &&
    network.ip.value >> hostBits(network) === ip.value >> hostBits(network);
}

/** Orders addresses: IPv4 before IPv6, then by value. */
export function compareIp(a: Ip, b: Ip): number {
  if (a.family !== b.family) return a.family - b.family;
  return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
}

function hostBits(cidr: Cidr): bigint {
  return BigInt(bitsOf(cidr.ip) - cidr.prefix);
}
