import { type Cidr, formatCidr, formatIp, type Ip, networkOf, parseCidr, parseIp } from "../cni/address.ts";
import { PROTOCOLS } from "../cni/port_protocol.ts";
import type { Forwarding } from "./forwarding.ts";
import { linesOfChain } from "./iptables.ts";
import type { PortRange } from "./port_range.ts";

/** The rules of a chain that lead some ports to an address: those that mark packets, and the last one, that translates. */
export interface ForwardingRules extends Forwarding {
  /** As `iptables -S` lists them. */
  readonly lines: readonly string[];
  /** What is marked: the source, empty for any, and the chain that marks it. */
  readonly marks: readonly (readonly [source: string, chain: string])[];
}

/** How packets are marked that are to be masqueraded. */
export interface Marking {
  readonly chain: string;
  /** Whether all of them are. */
  readonly isForAll: boolean;
}

/**
 * The sources whose packets are marked, as `iptables -S` lists them: all, or the pod's own network, from which answers would
 * not come back this way, and this machine's own.
 */
export function listedSources(target: Cidr, { isForAll }: Marking): readonly string[] {
  if (isForAll) return [""];
  return [formatCidr(networkOf(target)), ...(target.ip.family === 4 ? ["127.0.0.1/32"] : [])];
}

/** Returns the rules that lead ports to an address, the marks before the translation that hides what they look at. */
export function forwardingLines(
  chain: string,
  port: PortRange,
  target: Cidr,
  marking: Marking | undefined,
): readonly string[] {
  const { protocol, hostIp, hostPort, count } = port;
  const to = hostIp === undefined ? "" : ` -d ${formatIp(hostIp)}`;
  const base = `-A ${chain} -p ${protocol} --dport ${span(hostPort, count)}${to}`;
  const sources = marking === undefined ? [] : listedSources(target, marking);
  return [
    ...sources.map((source) => `${base}${source === "" ? "" : ` -s ${source}`} -j ${marking?.chain}`),
    `${base} -j DNAT --to-destination ${destination(port, target.ip)}`,
  ];
}

/** Returns ports as `--dport` takes them. */
export function span(first: number, count: number, separator = ":"): string {
  return count === 1 ? `${first}` : `${first}${separator}${first + count - 1}`;
}

function destination({ hostPort, containerPort, count }: PortRange, target: Ip): string {
  const address = target.family === 6 ? `[${formatIp(target)}]` : formatIp(target);
  if (count === 1) return `${address}:${containerPort}`;
  // Without ports each packet keeps its own.
  if (hostPort === containerPort) return formatIp(target);
  return `${address}:${span(containerPort, count, "-")}/${hostPort}`;
}

/** Reads the rules in a chain, out of the lines of `iptables -S`. Rules that this plugin does not make are left out. */
export function readForwarding(lines: readonly string[], chain: string): readonly ForwardingRules[] {
  const found: ForwardingRules[] = [];
  let before: string[] = [];
  for (const line of linesOfChain(lines, chain)) {
    if (!line.startsWith("-A ")) continue;
    before.push(line);
    if (valueOf(line, "-j") !== "DNAT") continue;
    const forwarding = readTranslation(line);
    if (forwarding !== undefined) {
      const marks = before.slice(0, -1).map((mark) =>
        [valueOf(mark, "-s") ?? "", valueOf(mark, "-j") ?? ""] as const
      );
      found.push({ ...forwarding, lines: before, marks });
    }
    before = [];
  }
  return found;
}

function readTranslation(line: string): Forwarding | undefined {
  const protocol = PROTOCOLS.find((known) => known === valueOf(line, "-p"));
  const [first = NaN, last = first] = (valueOf(line, "--dport") ?? "").split(":").map(Number);
  const to = valueOf(line, "--to-destination") ?? "";
  // A bare address of IPv6 has colons and no brackets.
  const bare = parseIp(to);
  const { v6, v4, port } = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[\d.]+)):(?<port>\d+)/.exec(to)?.groups ?? {};
  const target = bare ?? parseIp(v6 ?? v4 ?? "");
  if (protocol === undefined || target === undefined || !(last >= first)) return undefined;
  const host = parseCidr(valueOf(line, "-d") ?? "");
  const range = {
    protocol,
    family: undefined,
    hostIp: host?.ip ?? parseIp(valueOf(line, "-d") ?? ""),
    hostPort: first,
    containerPort: port === undefined ? first : Number(port),
    count: last - first + 1,
  };
  return { port: range, target };
}

/** Returns the word after an option, which must not be negated. */
function valueOf(line: string, option: string): string | undefined {
  const words = line.split(" ");
  const at = words.indexOf(option);
  return at < 0 || words[at - 1] === "!" ? undefined : words[at + 1];
}
