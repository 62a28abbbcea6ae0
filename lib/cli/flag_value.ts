import type { Bandwidth, IpRange } from "../pod/request.ts";
import { CniError } from "../spec/error.ts";
import { type Json, MAX_DEPTH, parseJson } from "../spec/json.ts";

export { address, addressWithPrefix, portMapping, positive } from "../pod/port_mapping.ts";

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
