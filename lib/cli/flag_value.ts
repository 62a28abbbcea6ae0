import type { Bandwidth, IpRange, PortMapping } from "../pod/request.ts";
import { parseIp } from "../spec/address.ts";
import { CniError } from "../spec/error.ts";
import { type Json, MAX_DEPTH, parseJson } from "../spec/json.ts";

// The values that several flags take. Each function gets the flag as well, for its error to name.

/** `KEY=VALUE` */
export function pair(flag: string, text: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new CniError("usage", `${flag}: "${text}" is not KEY=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** `NAME=JSON` */
export function capability(flag: string, text: string): readonly [string, Json] {
  const [name, json] = pair(flag, text);
  try {
    return [name, parseJson(json, { maxDepth: MAX_DEPTH })];
  } catch (cause) {
    const reason = cause instanceof CniError ? cause.msg : String(cause);
    throw new CniError("usage", `${flag} ${name}: the value is no JSON: ${reason}`, { cause });
  }
}

/** An IP address, without prefix length. */
export function address(flag: string, text: string): string {
  if (parseIp(text) !== undefined) return text;
  throw new CniError("usage", `${flag}: "${text}" is no IP address`);
}

/** A whole number from 1 on. */
export function positive(flag: string, text: string, most: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (number >= 1 && number <= most) return number;
  throw new CniError("usage", `${flag}: "${text}" is no number from 1 to ${most}`);
}

/** `[HOSTIP:]HOSTPORT:PORT[/PROTO]`, an IPv6 address in brackets. */
export function portMapping(flag: string, text: string): PortMapping {
  const match = /^(?:(\[[^\]]+\]|[^:[\]]+):)?(\d+):(\d+)(?:\/(tcp|udp|sctp))?$/.exec(text);
  if (match === null) {
    throw new CniError("usage", `${flag}: "${text}" is not [HOSTIP:]HOSTPORT:PORT[/PROTO]`);
  }
  const [, host = "", hostPort = "", port = "", protocol = "tcp"] = match;
  const hostIP = host.replace(/^\[|\]$/g, "");
  return {
    hostIP: hostIP === "" ? "" : address(flag, hostIP),
    hostPort: positive(flag, hostPort, 65_535),
    containerPort: positive(flag, port, 65_535),
    protocol: protocol as PortMapping["protocol"],
  };
}

const RATE = /^(\d+(?:\.\d+)?)([kKMG]?)$/;
/** A terabit; above, numbers would be written in a way that plugins do not read. */
const MOST_BITS = 1e12;
const RATE_UNIT: Readonly<Record<string, number>> = { "": 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9 };

/** Bits per second, as `10M`; undefined for what is none. */
export function rate(text: string): number | undefined {
  const [, amount, unit = ""] = RATE.exec(text) ?? [];
  const bits = Math.round(Number(amount) * (RATE_UNIT[unit] ?? NaN));
  return bits >= 1 && bits <= MOST_BITS ? bits : undefined;
}

/** `ingress=RATE,egress=RATE` in bits per second. */
export function bandwidth(flag: string, text: string): Bandwidth {
  const limits: Record<string, number> = {};
  for (const part of text.split(",")) {
    const [, direction, amount = ""] = /^(ingress|egress)=(.*)$/.exec(part) ?? [];
    const bits = rate(amount);
    if (direction === undefined || bits === undefined) {
      throw new CniError("usage", `${flag}: "${part}" is not ingress=RATE or egress=RATE, such as 10M`);
    }
    if (limits[`${direction}Rate`] !== undefined) {
      throw new CniError("usage", `${flag}: ${direction} is given twice`);
    }
    limits[`${direction}Rate`] = bits;
  }
  return limits;
}

/** How {@linkcode ipRanges} are written. */
export const RANGE_SYNTAX = "SUBNET[@[START]-[END]][@gw=GATEWAY][+...]";
const RANGE = /^([^@]+?)(?:@([^@=-]*)-([^@=-]*))?(?:@gw=([^@]+))?$/;

/** `SUBNET[@[START]-[END]][@gw=GATEWAY]`, and more after a `+`: one address out of any of them. */
export function ipRanges(flag: string, text: string): readonly IpRange[] {
  return text.split("+").map((part) => {
    const [, subnet, rangeStart = "", rangeEnd = "", gateway] = RANGE.exec(part) ?? [];
    if (subnet === undefined) throw new CniError("usage", `${flag}: "${text}" is not ${RANGE_SYNTAX}`);
    return {
      subnet,
      ...(rangeStart === "" ? {} : { rangeStart }),
      ...(rangeEnd === "" ? {} : { rangeEnd }),
      ...(gateway === undefined ? {} : { gateway }),
    };
  });
}
