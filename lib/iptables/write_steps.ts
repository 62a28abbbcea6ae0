import { bitsOf, type Cidr } from "../cni/address.ts";
import { ipBytes } from "../kernel/ip_bytes.ts";
import { NETLINK } from "../kernel/netlink_constants.ts";
import type { NetlinkWriter } from "../kernel/netlink_writer.ts";
import { networkOrder32, networkOrder64 } from "../kernel/nft_message.ts";
import { ADDRESS_OFFSETS, PORT_OFFSETS, PROTOCOL_OFFSET } from "./packet_offsets.ts";
import type { Family, Negatable, Rule, RuleForm, RuleMatch, RuleTarget } from "./rule.ts";
import { WHOLE_MARK } from "./rule.ts";
import { extensionOf, targetExtensionOf, type XtExtension } from "./xt_info.ts";

const encoder = new TextEncoder();

/** Writes the steps of a rule, in the order and form of a release of iptables; all parts must be known. */
export function writeSteps(writer: NetlinkWriter, rule: Rule, family: Family, form: RuleForm): void {
  const steps = new StepWriter(writer);
  const { incoming, outgoing, protocol } = rule;
  const isOld = form === "1.8.9";
  const interfaces = () => {
    if (incoming !== undefined) steps.interface(NETLINK.NFT_META_IIFNAME, incoming);
    if (outgoing !== undefined) steps.interface(NETLINK.NFT_META_OIFNAME, outgoing);
    if (protocol === undefined) return;
    if (isOld || family === 6) steps.meta(NETLINK.NFT_META_L4PROTO);
    else steps.header(PROTOCOL_OFFSET, 1);
    steps.compare(Uint8Array.of(protocol.value), protocol.isInverted);
  };
  if (isOld) interfaces();
  const { source, destination } = ADDRESS_OFFSETS[family];
  if (rule.source !== undefined) steps.network(source, rule.source);
  if (rule.destination !== undefined) steps.network(destination, rule.destination);
  if (!isOld) interfaces();
  for (const match of rule.matches) steps.match(match);
  steps.counter();
  if (rule.target !== undefined) steps.target(rule.target, family);
}

class StepWriter {
  readonly #writer: NetlinkWriter;

  constructor(writer: NetlinkWriter) {
    this.#writer = writer;
  }

  interface(key: number, { value, isInverted }: Negatable<string>): void {
    this.meta(key);
    // Without its null, a name stands for all that begin so.
    const name = value.endsWith("+") ? value.slice(0, -1) : `${value}\0`;
    this.compare(encoder.encode(name), isInverted);
  }

  network(offset: number, { value: { ip, prefix }, isInverted }: Negatable<Cidr>): void {
    const bytes = ipBytes(ip);
    const isWhole = prefix % 8 === 0;
    const compared = isWhole ? bytes.subarray(0, prefix / 8) : bytes;
    this.header(offset, compared.length);
    if (!isWhole) this.#mask(maskOf({ ip, prefix }));
    this.compare(compared, isInverted);
  }

  header(offset: number, length: number): void {
    this.#payload(NETLINK.NFT_PAYLOAD_NETWORK_HEADER, offset, length);
  }

  match(match: RuleMatch): void {
    const extension = extensionOf(match);
    if (extension !== undefined) {
      this.#extension("match", extension);
    } else if (match.kind === "mark") {
      this.meta(NETLINK.NFT_META_MARK);
      if (match.mask !== WHOLE_MARK) this.#mask(hostOrder32(match.mask));
      this.compare(hostOrder32(match.value), match.isInverted);
    } else if (match.kind === "ports") {
      for (const side of ["source", "destination"] as const) {
        const ports = match[side];
        if (ports === undefined) continue;
        this.#payload(NETLINK.NFT_PAYLOAD_TRANSPORT_HEADER, PORT_OFFSETS[side], 2);
        const [first, last] = ports.value.map(networkOrder16) as [Uint8Array, Uint8Array];
        if (ports.value[0] === ports.value[1]) this.compare(first, ports.isInverted);
        else this.#range(first, last, ports.isInverted);
      }
    }
  }

  counter(): void {
    this.#step("counter", (writer) => {
      writer.attribute(NETLINK.NFTA_COUNTER_BYTES, networkOrder64(0))
        .attribute(NETLINK.NFTA_COUNTER_PACKETS, networkOrder64(0));
    });
  }

  target(target: RuleTarget, family: Family): void {
    const extension = targetExtensionOf(target, family);
    if (extension !== undefined) this.#extension("target", extension);
    else if (target.kind === "verdict") this.#verdict(VERDICT_CODES[target.verdict]);
    else if (target.kind === "jump") this.#verdict(NETLINK.NFT_JUMP, target.chain);
    else if (target.kind === "goto") this.#verdict(NETLINK.NFT_GOTO, target.chain);
  }

  meta(key: number): void {
    this.#step("meta", (writer) => {
      writer.attribute(NETLINK.NFTA_META_KEY, networkOrder32(key)).attribute(
        NETLINK.NFTA_META_DREG,
        REGISTER,
      );
    });
  }

  compare(value: Uint8Array, isInverted: boolean): void {
    this.#step("cmp", (writer) => {
      writer.attribute(NETLINK.NFTA_CMP_SREG, REGISTER).attribute(NETLINK.NFTA_CMP_OP, operation(isInverted));
      data(writer, NETLINK.NFTA_CMP_DATA, value);
    });
  }

  #range(first: Uint8Array, last: Uint8Array, isInverted: boolean): void {
    this.#step("range", (writer) => {
      writer.attribute(NETLINK.NFTA_RANGE_SREG, REGISTER).attribute(
        NETLINK.NFTA_RANGE_OP,
        operation(isInverted),
      );
      data(writer, NETLINK.NFTA_RANGE_FROM_DATA, first);
      data(writer, NETLINK.NFTA_RANGE_TO_DATA, last);
    });
  }

  #payload(base: number, offset: number, length: number): void {
    this.#step("payload", (writer) => {
      writer.attribute(NETLINK.NFTA_PAYLOAD_DREG, REGISTER)
        .attribute(NETLINK.NFTA_PAYLOAD_BASE, networkOrder32(base))
        .attribute(NETLINK.NFTA_PAYLOAD_OFFSET, networkOrder32(offset))
        .attribute(NETLINK.NFTA_PAYLOAD_LEN, networkOrder32(length));
    });
  }

  #mask(mask: Uint8Array): void {
    this.#step("bitwise", (writer) => {
      writer.attribute(NETLINK.NFTA_BITWISE_SREG, REGISTER).attribute(NETLINK.NFTA_BITWISE_DREG, REGISTER)
        .attribute(NETLINK.NFTA_BITWISE_LEN, networkOrder32(mask.length));
      data(writer, NETLINK.NFTA_BITWISE_MASK, mask);
      data(writer, NETLINK.NFTA_BITWISE_XOR, new Uint8Array(mask.length));
    });
  }

  #extension(kind: "match" | "target", { name, revision, info }: XtExtension): void {
    // The attributes of both have the same numbers.
    this.#step(kind, (writer) => {
      writer.attributeText(NETLINK.NFTA_MATCH_NAME, name)
        .attribute(NETLINK.NFTA_MATCH_REV, networkOrder32(revision))
        .attribute(NETLINK.NFTA_MATCH_INFO, info);
    });
  }

  #verdict(code: number, chain?: string): void {
    this.#step("immediate", (writer) => {
      writer.attribute(NETLINK.NFTA_IMMEDIATE_DREG, networkOrder32(NETLINK.NFT_REG_VERDICT))
        .nested(NETLINK.NFTA_IMMEDIATE_DATA | NETLINK.NLA_F_NESTED, () => {
          writer.nested(NETLINK.NFTA_DATA_VERDICT | NETLINK.NLA_F_NESTED, () => {
            writer.attribute(NETLINK.NFTA_VERDICT_CODE, networkOrder32(code));
            if (chain !== undefined) writer.attributeText(NETLINK.NFTA_VERDICT_CHAIN, chain);
          });
        });
    });
  }

  #step(name: string, write: (writer: NetlinkWriter) => void): void {
    const writer = this.#writer;
    writer.nested(NETLINK.NFTA_LIST_ELEM | NETLINK.NLA_F_NESTED, () => {
      writer.attributeText(NETLINK.NFTA_EXPR_NAME, name)
        .nested(NETLINK.NFTA_EXPR_DATA | NETLINK.NLA_F_NESTED, () => write(writer));
    });
  }
}

const REGISTER = networkOrder32(NETLINK.NFT_REG_1);
const VERDICT_CODES = { ACCEPT: NETLINK.NF_ACCEPT, DROP: NETLINK.NF_DROP, RETURN: NETLINK.NFT_RETURN };

function data(writer: NetlinkWriter, type: number, value: Uint8Array): void {
  writer.nested(type | NETLINK.NLA_F_NESTED, () => writer.attribute(NETLINK.NFTA_DATA_VALUE, value));
}

function operation(isInverted: boolean): Uint8Array {
  return networkOrder32(isInverted ? NETLINK.NFT_CMP_NEQ : NETLINK.NFT_CMP_EQ);
}

function networkOrder16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value);
}

function hostOrder32(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

/** The bytes of a network mask. */
function maskOf({ ip, prefix }: Cidr): Uint8Array {
  const host = BigInt(bitsOf(ip) - prefix);
  const all = (1n << BigInt(bitsOf(ip))) - 1n;
  return ipBytes({ family: ip.family, value: all >> host << host });
}
