import type { Cidr } from "../cni/address.ts";
import { printIp } from "../kernel/ip_bytes.ts";
import {
  type Negatable,
  type PortSpan,
  PROTOCOL_NAMES,
  type Rule,
  type RuleMatch,
  type RuleTarget,
  STATES,
  WHOLE_MARK,
} from "./rule.ts";

/** Returns the words of a rule after the name of its chain, as `iptables -S` writes them; each begins with a blank. */
export function formatRule(
  { source, destination, incoming, outgoing, protocol, matches, target }: Rule,
): string {
  return option(source, (value) => `-s ${printCidr(value)}`) +
    option(destination, (value) => `-d ${printCidr(value)}`) +
    option(incoming, (value) => `-i ${value}`) +
    option(outgoing, (value) => `-o ${value}`) +
    option(protocol, (value) => `-p ${PROTOCOL_NAMES[value] ?? value}`) +
    matches.map(formatMatch).join("") +
    (target === undefined ? "" : formatTarget(target));
}

function option<T>(what: Negatable<T> | undefined, format: (value: T) => string): string {
  return what === undefined ? "" : `${what.isInverted ? " !" : ""} ${format(what.value)}`;
}

function formatMatch(match: RuleMatch): string {
  switch (match.kind) {
    case "comment":
      return ` -m comment --comment ${quoted(match.comment)}`;
    case "ports":
      return ` -m ${match.protocol}` + option(match.source, (value) => `--sport ${formatSpan(value)}`) +
        option(match.destination, (value) => `--dport ${formatSpan(value)}`);
    case "multiport": {
      const list = match.spans.map((span) => formatSpan(span)).join(",");
      return ` -m multiport${negation(match)} --${match.which} ${list}`;
    }
    case "local-destination":
      return ` -m addrtype${negation(match)} --dst-type LOCAL`;
    case "states": {
      const words = Object.entries(STATES).filter(([, bit]) => (match.bits & bit) !== 0).map(([name]) =>
        name
      );
      return ` -m ${match.isOld ? "state" : "conntrack"}${negation(match)} --${
        match.isOld ? "state" : "ctstate"
      } ${words.join(",")}`;
    }
    case "mark": {
      const mask = match.mask === WHOLE_MARK ? "" : `/${hex(match.mask)}`;
      return ` -m mark${negation(match)} --mark ${hex(match.value)}${mask}`;
    }
    case "unknown":
      return ` -m ${match.text}`;
  }
}

function printCidr({ ip, prefix }: Cidr): string {
  return `${printIp(ip)}/${prefix}`;
}

function negation({ isInverted }: { readonly isInverted: boolean }): string {
  return isInverted ? " !" : "";
}

function formatTarget(target: RuleTarget): string {
  switch (target.kind) {
    case "verdict":
      return ` -j ${target.verdict}`;
    case "jump":
      return ` -j ${target.chain}`;
    case "goto":
      return ` -g ${target.chain}`;
    case "DNAT": {
      const { address, ports, base } = target;
      const ip = printIp(address);
      if (ports === undefined) return ` -j DNAT --to-destination ${ip}`;
      const to = address.family === 6 ? `[${ip}]` : ip;
      return ` -j DNAT --to-destination ${to}:${formatSpan(ports, "-")}${
        base === undefined ? "" : `/${base}`
      }`;
    }
    case "MASQUERADE":
      return " -j MASQUERADE";
    case "MARK":
      return ` -j MARK --set-xmark ${hex(target.value)}/${hex(target.mask)}`;
    case "unknown":
      return ` -j ${target.text}`;
  }
}

function formatSpan([first, last]: PortSpan, separator = ":"): string {
  return first === last ? `${first}` : `${first}${separator}${last}`;
}

function hex(number: number): string {
  return `0x${number.toString(16)}`;
}

/** Other texts iptables prints in quotes. */
const PLAIN = /^[\w-]+$/;

function quoted(text: string): string {
  return PLAIN.test(text) ? text : `"${text.replaceAll(/["'\\]/g, "\\$&")}"`;
}
