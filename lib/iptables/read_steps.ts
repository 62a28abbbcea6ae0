import { type Cidr, formatCidr, networkOf } from "../cni/address.ts";
import { ipOf } from "../kernel/ip_bytes.ts";
import { NETLINK } from "../kernel/netlink_constants.ts";
import { NetlinkReader } from "../kernel/netlink_reader.ts";
import type { NftExpression } from "../kernel/nft_table.ts";
import { Inexpressible } from "./inexpressible.ts";
import { ADDRESS_OFFSETS, PORT_OFFSETS, PROTOCOL_OFFSET } from "./packet_offsets.ts";
import {
  type Family,
  type Mutable,
  type Negatable,
  PORT_PROTOCOLS,
  type PortProtocol,
  type PortSpan,
  type Rule,
  type RuleMatch,
  type RuleTarget,
  type Verdict,
  WHOLE_MARK,
} from "./rule.ts";
import { matchOf, targetOf, type XtExtension } from "./xt_info.ts";

/**
 * Reads the steps of a rule that iptables has written. What only looks as if iptables can read it is a part that is
 * unknown.
 *
 * @throws {Inexpressible} For steps that iptables does not write.
 */
export function readSteps(expressions: readonly NftExpression[], family: Family): Rule {
  const reader = new StepReader(family);
  for (const expression of expressions) reader.take(expression);
  return reader.rule;
}

/** What a register holds. */
type Held =
  & { readonly mask?: Uint8Array | undefined }
  & (
    | { readonly from: "meta"; readonly key: number }
    | { readonly from: "payload"; readonly base: number; readonly offset: number; readonly length: number }
  );

/** What is compared with a register. */
interface Compared {
  readonly first: Uint8Array;
  readonly last: Uint8Array;
  readonly isInverted: boolean;
}

class StepReader {
  readonly #family: Family;
  readonly #held = new Map<number, Held>();
  readonly #matches: RuleMatch[] = [];
  readonly rule: Mutable<Rule>;

  constructor(family: Family) {
    this.#family = family;
    this.rule = { matches: this.#matches };
  }

  take({ name, attributes }: NftExpression): void {
    if (this.rule.target !== undefined) throw new Inexpressible("a rule with a step after its target");
    const step = new Step(attributes);
    switch (name) {
      case "meta":
        this.#held.set(step.number(NETLINK.NFTA_META_DREG), {
          from: "meta",
          key: step.number(NETLINK.NFTA_META_KEY),
        });
        return;
      case "payload":
        this.#held.set(step.number(NETLINK.NFTA_PAYLOAD_DREG), {
          from: "payload",
          base: step.number(NETLINK.NFTA_PAYLOAD_BASE),
          offset: step.number(NETLINK.NFTA_PAYLOAD_OFFSET),
          length: step.number(NETLINK.NFTA_PAYLOAD_LEN),
        });
        return;
      case "bitwise":
        this.#mask(step);
        return;
      case "cmp":
      case "range":
        this.#compare(step.number(NETLINK.NFTA_CMP_SREG), name === "cmp" ? comparison(step) : range(step));
        return;
      case "match":
        this.#matches.push(matchOf(step.extension()) ?? unknown(step.extension()));
        return;
      case "target":
        this.rule.target = targetOf(step.extension(), this.#family) ?? unknown(step.extension());
        return;
      case "immediate":
        this.rule.target = verdictIn(step);
        return;
      case "counter":
        return;
      case "limit":
      case "log":
        this.#matches.push(unknown({ name, revision: 0, info: step.all() }));
        return;
    }
    throw new Inexpressible(`the step "${name}"`);
  }

  #mask(step: Step): void {
    const held = this.#held.get(step.number(NETLINK.NFTA_BITWISE_SREG));
    const isPlain = step.value(NETLINK.NFTA_BITWISE_XOR).every((byte) => byte === 0);
    if (held === undefined || held.mask !== undefined || !isPlain) throw new Inexpressible("such a mask");
    const mask = step.value(NETLINK.NFTA_BITWISE_MASK);
    this.#held.set(step.number(NETLINK.NFTA_BITWISE_DREG), { ...held, mask });
  }

  #compare(register: number, compared: Compared): void {
    const held = this.#held.get(register);
    if (held === undefined) throw new Inexpressible("a comparison with nothing");
    const isRead = held.from === "meta"
      ? this.#compareMeta(held.key, held.mask, compared)
      : held.base === NETLINK.NFT_PAYLOAD_NETWORK_HEADER
      ? this.#compareHeader(held, compared)
      : held.base === NETLINK.NFT_PAYLOAD_TRANSPORT_HEADER && this.#comparePort(held, compared);
    if (isRead) return;
    const place = held.from === "meta" ? [held.key] : [held.base, held.offset, held.length];
    const words = [...place, hex(held.mask ?? new Uint8Array()), hex(compared.first), hex(compared.last)];
    this.#matches.push({ kind: "unknown", text: `${held.from} ${words.join(",")} ${compared.isInverted}` });
  }

  #compareMeta(key: number, mask: Uint8Array | undefined, { first, last, isInverted }: Compared): boolean {
    if (first !== last) return false;
    if (key === NETLINK.NFT_META_MARK && first.length === 4 && (mask?.length ?? 4) === 4) {
      const [value, bits] = [littleEndian32(first), mask === undefined ? WHOLE_MARK : littleEndian32(mask)];
      this.#matches.push({ kind: "mark", value, mask: bits, isInverted });
      return true;
    }
    if (mask !== undefined) return false;
    switch (key) {
      case NETLINK.NFT_META_IIFNAME:
        return this.#set("incoming", interfaceIn(first), isInverted);
      case NETLINK.NFT_META_OIFNAME:
        return this.#set("outgoing", interfaceIn(first), isInverted);
      case NETLINK.NFT_META_L4PROTO:
        return first.length === 1 && this.#set("protocol", first[0], isInverted);
    }
    return false;
  }

  #compareHeader(held: Held & { readonly from: "payload" }, { first, last, isInverted }: Compared): boolean {
    const { source, destination } = ADDRESS_OFFSETS[this.#family];
    if (first !== last) return false;
    if (this.#family === 4 && held.offset === PROTOCOL_OFFSET && held.length === 1) {
      return held.mask === undefined && first.length === 1 && this.#set("protocol", first[0], isInverted);
    }
    if ((held.offset !== source && held.offset !== destination)) return false;
    const network = networkIn(first, held, this.#family);
    return this.#set(held.offset === source ? "source" : "destination", network, isInverted);
  }

  #comparePort(held: Held & { readonly from: "payload" }, { first, last, isInverted }: Compared): boolean {
    const side = held.offset === PORT_OFFSETS.source
      ? "source"
      : held.offset === PORT_OFFSETS.destination
      ? "destination"
      : undefined;
    const { protocol } = this.rule;
    const names: readonly PortProtocol[] = ["tcp", "udp"];
    const name = names.find((one) => PORT_PROTOCOLS[one] === protocol?.value);
    if (side === undefined || held.length !== 2 || held.mask !== undefined || name === undefined) {
      return false;
    }
    if (protocol?.isInverted || first.length !== 2 || last.length !== 2) return false;
    const value: PortSpan = [numberIn(first), numberIn(last)];
    const known = this.#matches.findIndex(({ kind }) => kind === "ports");
    const ports = { kind: "ports", protocol: name, [side]: { value, isInverted } } as const;
    const before = this.#matches[known];
    // iptables has one match for both sides.
    if (before?.kind === "ports") {
      if (before[side] !== undefined) return false;
      this.#matches[known] = { ...before, ...ports };
    } else this.#matches.push(ports);
    return true;
  }

  /** Returns false if there is none, or one already. */
  #set<K extends "incoming" | "outgoing" | "protocol" | "source" | "destination">(
    what: K,
    value: NonNullable<Rule[K]>["value"] | undefined,
    isInverted: boolean,
  ): boolean {
    if (value === undefined || this.rule[what] !== undefined) return false;
    Object.assign(this.rule, { [what]: { value, isInverted } satisfies Negatable<unknown> });
    return true;
  }
}

/** The attributes of a step. */
class Step {
  readonly #attributes: ReadonlyMap<number, Uint8Array>;

  constructor(attributes: ReadonlyMap<number, Uint8Array>) {
    this.#attributes = attributes;
  }

  bytes(type: number): Uint8Array {
    return this.#attributes.get(type) ?? new Uint8Array();
  }

  number(type: number): number {
    return numberIn(this.bytes(type));
  }

  /** The value in an attribute with data. */
  value(type: number): Uint8Array {
    const bytes = this.bytes(type);
    const reader = new NetlinkReader(bytes);
    let value: Uint8Array = new Uint8Array();
    reader.attributes(0, bytes.length, (type, start, end) => {
      if (type === NETLINK.NFTA_DATA_VALUE) value = reader.bytes(start, end);
    });
    return value;
  }

  /** Of a match or a target, whose attributes have the same numbers. */
  extension(): XtExtension {
    const name = this.bytes(NETLINK.NFTA_MATCH_NAME);
    return {
      name: new NetlinkReader(name).text(0, name.length),
      revision: this.number(NETLINK.NFTA_MATCH_REV),
      info: this.bytes(NETLINK.NFTA_MATCH_INFO),
    };
  }

  all(): Uint8Array {
    return new Uint8Array([...this.#attributes].flatMap(([type, bytes]) => [type, ...bytes]));
  }
}

function comparison(step: Step): Compared {
  const value = step.value(NETLINK.NFTA_CMP_DATA);
  return { first: value, last: value, isInverted: isNegation(step.number(NETLINK.NFTA_CMP_OP)) };
}

function range(step: Step): Compared {
  return {
    first: step.value(NETLINK.NFTA_RANGE_FROM_DATA),
    last: step.value(NETLINK.NFTA_RANGE_TO_DATA),
    isInverted: isNegation(step.number(NETLINK.NFTA_RANGE_OP)),
  };
}

function unknown(
  { name, revision, info }: XtExtension,
): RuleMatch & RuleTarget & { readonly kind: "unknown" } {
  return { kind: "unknown", text: `${name} revision ${revision} ${hex(info)}` };
}

function verdictIn(step: Step): RuleTarget {
  if (step.number(NETLINK.NFTA_IMMEDIATE_DREG) !== NETLINK.NFT_REG_VERDICT) {
    throw new Inexpressible("a step with a value");
  }
  const bytes = step.bytes(NETLINK.NFTA_IMMEDIATE_DATA);
  const reader = new NetlinkReader(bytes);
  let code: number | undefined;
  let chain = "";
  reader.attributes(0, bytes.length, (type, start, end) => {
    if (type !== NETLINK.NFTA_DATA_VERDICT) return;
    reader.attributes(start, end, (type, start, end) => {
      if (type === NETLINK.NFTA_VERDICT_CODE) code = numberIn(reader.bytes(start, end)) | 0;
      if (type === NETLINK.NFTA_VERDICT_CHAIN) chain = reader.text(start, end);
    });
  });
  if (code === NETLINK.NFT_JUMP) return { kind: "jump", chain };
  if (code === NETLINK.NFT_GOTO) return { kind: "goto", chain };
  const verdict = code === undefined ? undefined : VERDICTS.get(code);
  if (verdict === undefined) throw new Inexpressible(`the verdict ${code}`);
  return { kind: "verdict", verdict };
}

const VERDICTS: ReadonlyMap<number, Verdict> = new Map([
  [NETLINK.NF_ACCEPT, "ACCEPT"],
  [NETLINK.NF_DROP, "DROP"],
  [NETLINK.NFT_RETURN, "RETURN"],
]);

/** A network whose address is compared as far as its prefix reaches; undefined if a mask has gaps. */
function networkIn(
  bytes: Uint8Array,
  { length, mask }: { readonly length: number; readonly mask?: Uint8Array | undefined },
  family: Family,
): Cidr | undefined {
  const size = family === 4 ? 4 : 16;
  if (bytes.length !== length || length > size || (mask !== undefined && mask.length !== size)) {
    return undefined;
  }
  const whole = new Uint8Array(size);
  whole.set(bytes);
  const ip = ipOf(whole);
  const bits = mask === undefined
    ? "1".repeat(8 * length)
    : Array.from(mask, (byte) => byte.toString(2).padStart(8, "0")).join("");
  if (ip === undefined || !/^1+0*$/.test(bits)) return undefined;
  const network = { ip, prefix: bits.replace(/0+$/, "").length };
  return formatCidr(networkOf(network)) === formatCidr(network) ? network : undefined;
}

function interfaceIn(bytes: Uint8Array): string | undefined {
  const end = bytes.indexOf(0);
  const name = String.fromCharCode(...bytes.subarray(0, end < 0 ? bytes.length : end));
  if (!/^[\w.:@-]+$/.test(name)) return undefined;
  return end < 0 ? `${name}+` : name;
}

function isNegation(operation: number): boolean {
  if (operation === NETLINK.NFT_CMP_NEQ) return true;
  if (operation === NETLINK.NFT_CMP_EQ) return false;
  throw new Inexpressible("a comparison of order");
}

function numberIn(bytes: Uint8Array): number {
  return bytes.reduce((number, byte) => number * 256 + byte, 0);
}

function littleEndian32(bytes: Uint8Array): number {
  return numberIn(bytes.toReversed());
}

function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}
