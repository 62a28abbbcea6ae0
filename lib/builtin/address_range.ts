import {
  bitsOf,
  type Cidr,
  compareIp,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  lastOf,
  networkOf,
  parseCidr,
  parseIp,
} from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { mapped, openObjectOf, type Shape, ValidationError } from "../cni/shape.ts";
import { CIDR, IP, present, TEXT } from "./config_shape.ts";

/** Addresses to allocate: from `start` to `end`, both included, without the gateway. */
export interface AddressRange {
  readonly subnet: Cidr;
  readonly start: Ip;
  readonly end: Ip;
  readonly gateway: Ip;
}

/** Ranges of one family; a container gets one address out of each set. */
export type RangeSet = readonly AddressRange[];

/**
 * Reads `{subnet, rangeStart?, rangeEnd?, gateway?}`. The default of start and gateway is the first address of the subnet,
 * that of the end the last usable one (in IPv4 the one before the broadcast address).
 */
export const ADDRESS_RANGE: Shape<AddressRange> = mapped(
  openObjectOf({ subnet: present(CIDR) }, { rangeStart: IP, rangeEnd: IP, gateway: IP }),
  ({ subnet, rangeStart, rangeEnd, gateway }, path) => {
    const fail = (key: string, problem: string) => new ValidationError([...path, key], problem);
    if (subnet.prefix > bitsOf(subnet.ip) - 2) {
      throw fail("subnet", `is too small to allocate from: ${formatCidr(subnet)}`);
    }
    const network = networkOf(subnet);
    if (compareIp(network.ip, subnet.ip) !== 0) {
      const is = `the network of ${formatIp(subnet.ip)} is ${formatIp(network.ip)}`;
      throw fail("subnet", `has host bits set: for a prefix length of ${subnet.prefix} ${is}`);
    }
    const first = next(network.ip);
    const outside = (ip: Ip) => `${formatIp(ip)} is not in the network ${formatCidr(subnet)}`;
    const start = rangeStart ?? first;
    if (!contains(subnet, start)) throw fail("rangeStart", outside(start));
    const end = rangeEnd ?? lastUsable(subnet);
    if (!contains(subnet, end)) throw fail("rangeEnd", outside(end));
    if (compareIp(start, end) > 0) {
      throw fail("rangeEnd", `${formatIp(end)} is before the start ${formatIp(start)}`);
    }
    return { subnet, start, end, gateway: gateway ?? first };
  },
);

/** Addresses from the first to the last one, both included, of one family. */
export interface AddressSpan {
  readonly first: Ip;
  readonly last: Ip;
}

/** Reads addresses: one, a network such as `10.1.2.0/28`, or two of them, as in `10.1.2.3-10.1.2.9`. */
export const ADDRESS_SPAN: Shape<AddressSpan> = mapped(present(TEXT), (text, path) => {
  const cidr = parseCidr(text);
  if (cidr !== undefined) return { first: networkOf(cidr).ip, last: lastOf(cidr) };
  const ends = text.split("-").map((end) => parseIp(end.trim()));
  const [first, last = first] = ends;
  const isSpan = ends.length <= 2 && first !== undefined && last !== undefined && !ends.includes(undefined);
  if (!isSpan || first.family !== last.family) {
    throw new ValidationError(path, `is not an address, a network, or a range of addresses: ${text}`);
  }
  if (compareIp(first, last) <= 0) return { first, last };
  throw new ValidationError(path, `${formatIp(last)} is before ${formatIp(first)}`);
});

/** Whether an address is among others. */
export function isWithin({ first, last }: AddressSpan, ip: Ip): boolean {
  return first.family === ip.family && first.value <= ip.value && ip.value <= last.value;
}

/** Whether a set has an address of these. */
export function touches(set: RangeSet, { first, last }: AddressSpan): boolean {
  return set.some(({ start, end }) =>
    start.family === first.family && start.value <= last.value && first.value <= end.value
  );
}

/** Returns how many addresses of a set may be given out. */
export function sizeOf(set: RangeSet, excluded: readonly AddressSpan[]): bigint {
  let size = 0n;
  for (const { start, end, gateway } of set) {
    size += end.value - start.value + 1n;
    const spans = [...excluded, { first: gateway, last: gateway }].filter(({ first }) =>
      first.family === start.family
    ).sort((a, b) => compareIp(a.first, b.first));
    let from = start.value;
    for (const { first, last } of spans) {
      const [low, high] = [
        first.value > from ? first.value : from,
        last.value < end.value ? last.value : end.value,
      ];
      if (low > high) continue;
      size -= high - low + 1n;
      from = high + 1n;
    }
  }
  return size;
}

function next(ip: Ip): Ip {
  return { family: ip.family, value: ip.value + 1n };
}

function lastUsable(subnet: Cidr): Ip {
  const last = lastOf(subnet);
  return last.family === 4 ? { family: 4, value: last.value - 1n } : last;
}

/**
 * Refuses a set that mixes families or overlaps itself, and sets that overlap each other: two containers could get the same
 * address.
 *
 * @throws {CniError} With the code 7.
 */
export function validateRangeSets(sets: readonly RangeSet[]): void {
  if (sets.length === 0) throw invalid("no IP ranges specified");
  for (const [index, set] of sets.entries()) {
    const [first] = set;
    if (first === undefined) throw invalid(`invalid range set ${index}: empty range set`);
    if (set.some((range) => range.start.family !== first.start.family)) {
      throw invalid(`invalid range set ${index}: mixed address families`);
    }
    for (const [at, a] of set.entries()) {
      const b = set.slice(at + 1).find((other) => overlaps(a, other));
      if (b !== undefined) {
        throw invalid(`invalid range set ${index}: subnets ${formatRange(a)} and ${formatRange(b)} overlap`);
      }
    }
  }
  for (const [a, first] of sets.entries()) {
    const after = sets.slice(a + 1).findIndex((second) =>
      first.some((x) => second.some((y) => overlaps(x, y)))
    );
    if (after >= 0) throw invalid(`range set ${a} overlaps with ${a + 1 + after}`);
  }
}

function invalid(msg: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
}

function overlaps(a: AddressRange, b: AddressRange): boolean {
  return a.start.family === b.start.family && compareIp(a.start, b.end) <= 0 &&
    compareIp(b.start, a.end) <= 0;
}

/** Returns the range of a set that contains an address. */
export function rangeFor(set: RangeSet, ip: Ip): AddressRange | undefined {
  return set.find((range) =>
    range.start.family === ip.family && compareIp(range.start, ip) <= 0 && compareIp(ip, range.end) <= 0
  );
}

/** Formats a set as in `10.1.0.2-10.1.0.9,10.2.0.1-10.2.0.254`. */
export function formatRangeSet(set: RangeSet): string {
  return set.map(formatRange).join(",");
}

function formatRange(range: AddressRange): string {
  return `${formatIp(range.start)}-${formatIp(range.end)}`;
}

/**
 * Yields every address of a set except the gateways and the excluded ones, once, beginning after the one that was allocated
 * last: if a container restarts in a loop, an address is used again only after all others.
 */
export function* candidates(
  set: RangeSet,
  last: Ip | undefined,
  excluded: readonly AddressSpan[] = [],
): Generator<{ readonly ip: Ip; readonly range: AddressRange }> {
  const from = last === undefined ? undefined : rangeFor(set, last);
  const at = from === undefined ? 0 : set.indexOf(from);
  const order = [...set.slice(at), ...set.slice(0, at)];
  for (const [index, range] of order.entries()) {
    const start = index === 0 && from !== undefined && last !== undefined
      ? last.value + 1n
      : range.start.value;
    yield* walk(range, start, range.end.value, excluded);
  }
  if (from !== undefined && last !== undefined) yield* walk(from, from.start.value, last.value, excluded);
}

function* walk(range: AddressRange, start: bigint, end: bigint, excluded: readonly AddressSpan[]) {
  const { family } = range.start;
  for (let value = start; value <= end; value++) {
    const ip: Ip = { family, value };
    const within = excluded.find((span) => isWithin(span, ip));
    // A whole network may be excluded, which is too large to go through.
    if (within !== undefined) value = within.last.value;
    else if (compareIp(ip, range.gateway) !== 0) yield { ip, range };
  }
}
