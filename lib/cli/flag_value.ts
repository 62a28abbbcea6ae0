import { socketPathProblem } from "../host/socket.ts";
import type { Bandwidth, IpRange, NetworkSettings } from "../pod/request.ts";
import { validateSettings } from "../pod/setting_rules.ts";
import { CniError, isCniError } from "../cni/error.ts";
import { type Json, MAX_DEPTH, parseJson } from "../cni/json.ts";
import {
  validateContainerId,
  validateInterfaceName,
  validateNetworkName,
  validateNewCniArg,
} from "../cni/name.ts";

export { address, addressWithPrefix, portMapping, positive } from "../pod/port_mapping.ts";

// The values that several flags take. Each function gets the flag as well, for its error to name.

/** `KEY=VALUE` */
export function pair(flag: string, text: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new CniError("usage", `${flag}: "${text}" is not KEY=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** The absolute path of a socket. */
export function socketPath(
  flag: string,
  path: string,
  purpose: Parameters<typeof socketPathProblem>[1] = "connect",
): string {
  const problem = socketPathProblem(path, purpose);
  if (problem === undefined) return path;
  throw new CniError("usage", `${flag}: ${problem}`, { details: path });
}

/** `KEY=VALUE` that plugins take among their arguments. */
export function cniArg(flag: string, text: string): readonly [string, string] {
  const [key, value] = pair(flag, text);
  return named(flag, () => (validateNewCniArg(key, value), [key, value]));
}

/** The name of a network. */
export function networkName(flag: string, text: string): string {
  return named(flag, () => (validateNetworkName(text), text));
}

/** The name of an interface. */
export function interfaceName(flag: string, text: string): string {
  return named(flag, () => (validateInterfaceName(text), text));
}

/** The ID of a container. */
export function containerId(flag: string, text: string): string {
  return named(flag, () => (validateContainerId(text), text));
}

/**
 * Refuses settings that no plugin could follow.
 *
 * @param flagOf The flag that a setting was given by, such as `dns.searches`
 * @throws {CniError} kind `usage`, naming the flag
 */
export function requireSettings(settings: NetworkSettings, flagOf: (setting: string) => string): void {
  try {
    validateSettings("", settings);
  } catch (error) {
    const path = isCniError(error) ? error.context.path : undefined;
    if (!isCniError(error) || path === undefined) throw error;
    const words = error.msg.startsWith(`${path}: `) ? error.msg.slice(path.length + 2) : error.msg;
    throw new CniError("usage", `${flagOf(path.replace(/\[.*$/, ""))}: ${words}`, { cause: error });
  }
}

/** What a rule of CNI refuses is wrong usage here, and the flag is said. */
function named<T>(flag: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!isCniError(cause)) throw cause;
    const { code, msg, context: { details } } = cause;
    const more = details === undefined ? {} : { details };
    throw new CniError("usage", `${flag}: ${msg}`, { code, ...more, cause });
  }
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
