import { parseCidr, parseIp } from "../cni/address.ts";
import { CniError, isCniError } from "../cni/error.ts";
import { type Json, MAX_DEPTH, parseJson } from "../cni/json.ts";
import { validateNewCniArg } from "../cni/name.ts";
import { LAST_PORT } from "../cni/port_protocol.ts";
import type { Bandwidth, IpRange, PortMapping } from "./pod_request.ts";
import type { RefuseText } from "./setting.ts";
import { MOST_BITS } from "./setting_rules.ts";

// Readers of settings that are written as text. Each throws what `refuse` makes of the problem.

/** Any text, as it is. */
export function plain(text: string): string {
  return text;
}

/** An IP address, without prefix length. */
export function address(text: string, refuse: RefuseText): string {
  if (parseIp(text) !== undefined) return text;
  throw refuse(`"${text}" is not a valid IP address`);
}

/** An IP address, with the length of its prefix for IPAM plugins that want one. */
export function addressWithPrefix(text: string, refuse: RefuseText): string {
  if (parseIp(text) !== undefined || parseCidr(text) !== undefined) return text;
  throw refuse(`"${text}" is not a valid IP address, with or without /PREFIX`);
}

/** A whole number from 1 to `most`. */
export function positive(text: string, most: number, refuse: RefuseText): number {
  const number = /^\d+$/.test(text) ? Number(text) : NaN;
  if (number >= 1 && number <= most) return number;
  throw refuse(`"${text}" is not a number from 1 to ${most}`);
}

/** `KEY=VALUE` */
export function pair(text: string, refuse: RefuseText): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw refuse(`"${text}" is not KEY=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** `KEY=VALUE` that may be a pair of `CNI_ARGS`. */
export function cniArg(text: string, refuse: RefuseText): readonly [string, string] {
  const [key, value] = pair(text, refuse);
  return withRule(refuse, () => (validateNewCniArg(key, value), [key, value]));
}

/** `NAME=JSON` */
export function capability(text: string, refuse: RefuseText): readonly [string, Json] {
  const [name, json] = pair(text, refuse);
  try {
    return [name, parseJson(json, { maxDepth: MAX_DEPTH })];
  } catch (cause) {
    const reason = cause instanceof CniError ? cause.msg : String(cause);
    throw refuse(`the value of "${name}" is not valid JSON: ${reason}`, { cause });
  }
}

/**
 * `[HOSTIP:][HOSTPORT]:PORT[/PROTO]`, an IPv6 address in brackets, the protocol in any case. Both ports may be ranges of the same
 * length, such as `8000-8010:80-90`: that is one mapping for each port, which every plugin understands. Without a port of the host,
 * as in `:80`, podwire chooses it.
 */
export function portMappings(text: string, refuse: RefuseText): readonly Required<PortMapping>[] {
  const match = /^(?:(\[[^\]]+\]|[^:[\]]+):)?(\d+(?:-\d+)?)?:(\d+(?:-\d+)?)(?:\/(tcp|udp|sctp))?$/i.exec(
    text,
  );
  if (match === null) {
    // More colons than IPv4 has use for: an IPv6 address that nothing sets apart from the ports.
    const isBare = /^[^[\]]*:[^[\]]*:[^[\]]*:/.test(text);
    throw refuse(`"${text}" is not [HOSTIP:][HOSTPORT]:PORT[/PROTO]`, {
      hint: isBare
        ? "write an IPv6 address in brackets: [2001:db8::1]:8080:80"
        : "as 8080:80, 127.0.0.1:8080:80/tcp or [2001:db8::1]:53:53/udp",
    });
  }
  const [, host = "", hostPort = "", port = "", protocol = "tcp"] = match;
  const hostIP = host.replace(/^\[|\]$/g, "");
  const common = {
    hostIP: hostIP === "" ? "" : address(hostIP, refuse),
    protocol: protocol.toLowerCase() as Required<PortMapping>["protocol"],
  };
  const inside = portRange(port, refuse);
  const containerPorts = Array.from({ length: inside.count }, (_, at) => inside.first + at);
  if (hostPort === "") {
    return containerPorts.map((containerPort) => ({ ...common, hostPort: "auto", containerPort }));
  }
  const outside = portRange(hostPort, refuse);
  if (outside.count !== inside.count) {
    throw refuse(`"${text}" has ranges of ${outside.count} and of ${inside.count}, which differ`, {
      hint: "as many ports on both sides, as in 8000-8010:80-90",
    });
  }
  return containerPorts.map((containerPort, at) => ({
    ...common,
    hostPort: outside.first + at,
    containerPort,
  }));
}

/** `FIRST[-LAST]` */
function portRange(text: string, refuse: RefuseText): { readonly first: number; readonly count: number } {
  const [first = NaN, last = first] = text.split("-").map((port) => positive(port, LAST_PORT, refuse));
  if (last < first) throw refuse(`the range ${text} ends before it begins`);
  return { first, count: last - first + 1 };
}

/** Ports as objects, from an object or a text of {@linkcode portMappings}. */
export function anyPortMappings(
  port: PortMapping | string,
  refuse: RefuseText,
): readonly Required<PortMapping>[] {
  if (typeof port === "string") return portMappings(port, refuse);
  const { hostIP = "", hostPort, containerPort, protocol = "tcp" } = port;
  return [{ hostIP, hostPort, containerPort, protocol }];
}

const RATE = /^(\d+(?:\.\d+)?)([kKMG]?)$/;
const RATE_UNIT: Readonly<Record<string, number>> = { "": 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9 };

/** Bits per second, such as `10M`; undefined for a text that is not a rate. */
export function rate(text: string): number | undefined {
  const [, amount, unit = ""] = RATE.exec(text) ?? [];
  const bits = Math.round(Number(amount) * (RATE_UNIT[unit] ?? NaN));
  return bits >= 1 && bits <= MOST_BITS ? bits : undefined;
}

/** Bits per second, such as `10M`. */
export function bitsPerSecond(text: string, refuse: RefuseText): number {
  const bits = rate(text);
  if (bits !== undefined) return bits;
  throw refuse(`"${text}" is not a rate in bit/s, such as 10M`);
}

/** `ingress=RATE,egress=RATE` in bits per second. */
export function bandwidth(text: string, refuse: RefuseText): Bandwidth {
  const limits: Record<string, number> = {};
  for (const item of text.split(",")) {
    const [, direction, amount = ""] = /^(ingress|egress)=(.*)$/.exec(item) ?? [];
    const bits = rate(amount);
    if (direction === undefined || bits === undefined) {
      throw refuse(`"${item}" is not ingress=RATE or egress=RATE, such as 10M`);
    }
    if (limits[`${direction}Rate`] !== undefined) {
      throw refuse(`${direction} is given twice`);
    }
    limits[`${direction}Rate`] = bits;
  }
  return limits;
}

const RANGE_SYNTAX = "SUBNET[@[START]-[END]][@gw=GATEWAY][+...]";
const RANGE = /^([^@]+?)(?:@([^@=-]*)-([^@=-]*))?(?:@gw=([^@]+))?$/;

/** `SUBNET[@[START]-[END]][@gw=GATEWAY]`, and more after a `+`: one address out of any of them. */
export function ipRanges(text: string, refuse: RefuseText): readonly IpRange[] {
  return text.split("+").map((range) => {
    const [, subnet, rangeStart = "", rangeEnd = "", gateway] = RANGE.exec(range) ?? [];
    if (subnet === undefined) throw refuse(`"${text}" is not ${RANGE_SYNTAX}`);
    return {
      subnet,
      ...(rangeStart === "" ? {} : { rangeStart }),
      ...(rangeEnd === "" ? {} : { rangeEnd }),
      ...(gateway === undefined ? {} : { gateway }),
    };
  });
}

/** Lets `refuse` make the error of a rule of CNI. */
export function withRule<T>(refuse: RefuseText, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    if (!isCniError(cause)) throw cause;
    const { code, msg, context: { details } } = cause;
    throw refuse(msg, { code, details, cause });
  }
}
