import { bitsOf, type Cidr, networkOf, parseCidr, parseIp } from "../cni/address.ts";
import { Inexpressible } from "./inexpressible.ts";
import {
  type Family,
  MULTIPORT,
  type Mutable,
  type Negatable,
  PORT_PROTOCOLS,
  type PortProtocol,
  type PortSpan,
  type Rule,
  type RuleMatch,
  type RuleTarget,
  STATES,
  VERDICTS,
  WHOLE_MARK,
} from "./rule.ts";

const MOST = { ports: 0xffff, listed: 15, interface: 15, comment: 255 } as const;
/** The targets of extensions that are read here, and that need an option. */
const WITH_OPTION: readonly string[] = ["DNAT", "MARK"];
const PROTOCOLS: Readonly<Record<string, number>> = { ...PORT_PROTOCOLS };

/** Returns the words of a line of `iptables-restore`, without quotes. @throws {Inexpressible} */
export function wordsOf(line: string): readonly string[] {
  const words: string[] = [];
  const pattern = /\s*(?:"(?<quoted>(?:[^"\\]|\\.)*)"|(?<plain>[^\s"'\\]+))(?=\s|$)/gy;
  for (const { groups } of line.matchAll(pattern)) {
    words.push(groups?.plain ?? (groups?.quoted ?? "").replaceAll(/\\(.)/g, "$1"));
  }
  const rest = line.replace(pattern, "");
  if (rest.trim() !== "") throw new Inexpressible(`the words of ${JSON.stringify(line)}`);
  return words;
}

/**
 * Reads the words of a rule after the name of its chain. Of what iptables knows it reads what the plugins write, and what is
 * read means the same to iptables.
 *
 * @throws {Inexpressible} For anything else.
 */
export function readRule(words: readonly string[], family: Family): Rule {
  const reader = new RuleReader(family);
  for (let at = 0; at < words.length;) {
    const isInverted = words[at] === "!";
    if (isInverted) at++;
    const [option = "", value] = [words[at], words[at + 1]];
    if (value === undefined) throw new Inexpressible(`the option "${option}" without a value`);
    reader.take(option, value, isInverted);
    at += 2;
  }
  return reader.rule();
}

type Loaded = { readonly name: string; match: RuleMatch | undefined };

class RuleReader {
  readonly #family: Family;
  readonly #rule: Mutable<Omit<Rule, "matches" | "target">> = {};
  /** In the order of the options that load them. */
  readonly #loaded: Loaded[] = [];
  #target: RuleTarget | undefined;
  #targetName = "";

  constructor(family: Family) {
    this.#family = family;
  }

  take(option: string, value: string, isInverted: boolean): void {
    if (this.#takeCommon(option, value, isInverted)) return;
    if (option === "-m" && !isInverted) {
      this.#loaded.push({ name: value, match: undefined });
      return;
    }
    if (!isInverted && this.#takeTarget(option, value)) return;
    const match = matchOf(option, value, isInverted);
    if (match === undefined) throw new Inexpressible(`the option "${option}"`);
    this.#add(match.name ?? this.#protocolName(), match.read(this.#protocolName()));
  }

  rule(): Rule {
    const matches = this.#loaded.map(({ name, match }) => {
      if (match === undefined) throw new Inexpressible(`the match "${name}" without an option`);
      return match;
    });
    if (this.#targetName !== "" && this.#target === undefined) {
      throw new Inexpressible(`the target "${this.#targetName}"`);
    }
    return { ...this.#rule, matches, target: this.#target };
  }

  #takeCommon(option: string, value: string, isInverted: boolean): boolean {
    switch (option) {
      case "-s":
        this.#rule.source = once(this.#rule.source, networkIn(value, this.#family), isInverted);
        return true;
      case "-d":
        this.#rule.destination = once(this.#rule.destination, networkIn(value, this.#family), isInverted);
        return true;
      case "-i":
        this.#rule.incoming = once(this.#rule.incoming, interfaceIn(value), isInverted);
        return true;
      case "-o":
        this.#rule.outgoing = once(this.#rule.outgoing, interfaceIn(value), isInverted);
        return true;
      case "-p": {
        const number = PROTOCOLS[value];
        if (number === undefined) throw new Inexpressible(`the protocol "${value}"`);
        this.#rule.protocol = once(this.#rule.protocol, number, isInverted);
        return true;
      }
    }
    return false;
  }

  #takeTarget(option: string, value: string): boolean {
    if (option === "-j") {
      if (this.#targetName !== "") throw new Inexpressible("two targets");
      this.#targetName = value;
      const verdict = VERDICTS.find((one) => one === value);
      if (verdict !== undefined) this.#target = { kind: "verdict", verdict };
      else if (value === "MASQUERADE") this.#target = { kind: "MASQUERADE" };
      // The caller finds out whether there is such a chain: else it is the name of an extension.
      else if (!WITH_OPTION.includes(value)) this.#target = { kind: "jump", chain: value };
      return true;
    }
    if (option === "--to-destination" && this.#targetName === "DNAT" && this.#target === undefined) {
      this.#target = translationTo(value, this.#family);
      return true;
    }
    if (option === "--set-xmark" && this.#targetName === "MARK" && this.#target === undefined) {
      const [number, mask] = markIn(value);
      this.#target = { kind: "MARK", value: number, mask };
      return true;
    }
    return false;
  }

  #protocolName(): PortProtocol | undefined {
    const { protocol } = this.#rule;
    if (protocol === undefined || protocol.isInverted) return undefined;
    return (Object.keys(PORT_PROTOCOLS) as PortProtocol[]).find((name) =>
      PORT_PROTOCOLS[name] === protocol.value
    );
  }

  /** Puts a match where its extension was loaded; that of a protocol is loaded by its first option. */
  #add(name: string | undefined, match: RuleMatch): void {
    const last = this.#loaded.at(-1);
    if (last?.name === name && last?.match === undefined) last!.match = match;
    else if (match.kind === "ports" && !this.#loaded.some((one) => one.name === name)) {
      this.#loaded.push({ name: match.protocol, match });
    } else throw new Inexpressible(`the options of the match "${name}"`);
    if (match.kind === "multiport" && this.#protocolName() === undefined) {
      throw new Inexpressible("ports without a protocol before them");
    }
  }
}

/** What an option says; `name` is the extension, undefined for that of the protocol. */
interface Option {
  readonly name: string | undefined;
  readonly read: (protocol: PortProtocol | undefined) => RuleMatch;
}

function matchOf(option: string, value: string, isInverted: boolean): Option | undefined {
  switch (option) {
    case "--comment":
      return isInverted
        ? undefined
        : { name: "comment", read: () => ({ kind: "comment", comment: commentIn(value) }) };
    case "--dport":
    case "--sport":
      return { name: undefined, read: (protocol) => portsIn(option, value, isInverted, protocol) };
    case "--dports":
    case "--sports":
    case "--ports":
    case "--destination-ports":
      return { name: "multiport", read: () => multiportIn(option, value, isInverted) };
    case "--dst-type":
      return value !== "LOCAL" ? undefined : {
        name: "addrtype",
        read: () => ({ kind: "local-destination", isInverted }),
      };
    case "--ctstate":
    case "--state": {
      const isOld = option === "--state";
      return {
        name: isOld ? "state" : "conntrack",
        read: () => ({ kind: "states", bits: statesIn(value, isOld), isInverted, isOld }),
      };
    }
    case "--mark":
      return {
        name: "mark",
        read: () => {
          const [number, mask] = markIn(value);
          return { kind: "mark", value: number, mask, isInverted };
        },
      };
  }
  return undefined;
}

function once<T>(former: unknown, value: T, isInverted: boolean): Negatable<T> {
  if (former !== undefined) throw new Inexpressible("one option twice");
  return { value, isInverted };
}

function networkIn(text: string, family: Family): Cidr {
  const ip = parseIp(text);
  const cidr = ip === undefined ? parseCidr(text) : { ip, prefix: bitsOf(ip) };
  if (cidr === undefined || cidr.ip.family !== family || cidr.prefix === 0) {
    throw new Inexpressible(`the address "${text}"`);
  }
  return networkOf(cidr);
}

function interfaceIn(text: string): string {
  if (!/^[\w.:@-]+\+?$/.test(text) || text.length > MOST.interface) {
    throw new Inexpressible(`the interface "${text}"`);
  }
  return text;
}

function commentIn(text: string): string {
  if (!/^[\x20-\x7e]+$/.test(text) || text.length > MOST.comment) throw new Inexpressible("such a comment");
  return text;
}

function portIn(text: string): number {
  const port = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : NaN;
  if (!(port <= MOST.ports)) throw new Inexpressible(`the port "${text}"`);
  return port;
}

function spanIn(text: string, separator: string): PortSpan {
  const [first = 0, last = first, ...more] = text.split(separator).map(portIn);
  if (more.length > 0 || last < first) throw new Inexpressible(`the ports "${text}"`);
  return [first, last];
}

function portsIn(
  option: string,
  text: string,
  isInverted: boolean,
  protocol: PortProtocol | undefined,
): RuleMatch {
  if (protocol === undefined) throw new Inexpressible("a port without a protocol before it");
  const ports = { value: spanIn(text, ":"), isInverted };
  return { kind: "ports", protocol, ...(option === "--dport" ? { destination: ports } : { source: ports }) };
}

function multiportIn(option: string, text: string, isInverted: boolean): RuleMatch {
  const which = MULTIPORT.find((one) => `--${one}` === option) ?? "dports";
  const spans = text.split(",").map((one) => spanIn(one, ":"));
  const places = text.split(/[,:]/).length;
  // A range of one port would be printed as one port.
  if (
    places > MOST.listed ||
    spans.some(([first, last], at) => first === last && text.split(",")[at]?.includes(":"))
  ) {
    throw new Inexpressible(`the ports "${text}"`);
  }
  return { kind: "multiport", which, spans, isInverted };
}

function statesIn(text: string, isOld: boolean): number {
  let bits = 0;
  for (const word of text.split(",")) {
    const bit = Object.entries(STATES).find(([name]) => name === word)?.[1];
    if (bit === undefined || (isOld && bit >= STATES.SNAT && bit !== STATES.UNTRACKED)) {
      throw new Inexpressible(`the state "${word}"`);
    }
    bits |= bit;
  }
  return bits;
}

function markIn(text: string): readonly [value: number, mask: number] {
  const [value, mask = WHOLE_MARK, ...more] = text.split("/").map((part) =>
    /^0x[\da-f]{1,8}$/i.test(part) ? Number(part) : NaN
  );
  if (value === undefined || Number.isNaN(value) || Number.isNaN(mask) || more.length > 0) {
    throw new Inexpressible(`the mark "${text}"`);
  }
  return [value, mask];
}

function translationTo(text: string, family: Family): RuleTarget {
  const bare = parseIp(text);
  if (bare?.family === family) return { kind: "DNAT", address: bare, ports: undefined, base: undefined };
  const parts = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[\d.]+)):(?<ports>[\d-]+)(?:\/(?<base>\d+))?$/.exec(text)
    ?.groups;
  const address = parseIp(parts?.v6 ?? parts?.v4 ?? "");
  if (address?.family !== family) throw new Inexpressible(`the destination "${text}"`);
  const ports = spanIn(parts?.ports ?? "", "-");
  const base = parts?.base === undefined ? undefined : portIn(parts.base);
  if (base !== undefined && ports[0] === ports[1]) throw new Inexpressible(`the destination "${text}"`);
  return { kind: "DNAT", address, ports, base };
}
