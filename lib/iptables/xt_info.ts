import { ipBytes, ipOf } from "../kernel/ip_bytes.ts";
import type { Family, MultiportWhich, PortSpan, RuleMatch, RuleTarget } from "./rule.ts";
import { MULTIPORT } from "./rule.ts";

/** An extension of iptables as the kernel has it. */
export interface XtExtension {
  readonly name: string;
  readonly revision: number;
  /** Its structure in the memory of this machine. */
  readonly info: Uint8Array;
}

// The structures are the same on x86-64 and aarch64, and no header with all of them can be used by one program.
const MULTIPORT_PLACES = 15;
const LOCAL = 1 << 2;
const INVERTED_DESTINATION = 2;
const STATE_ALIAS = 1 << 13;
const WITH_STATE = 1;
const MAP_IPS = 1, WITH_PORTS = 2, WITH_BASE = 0x20;
const SCTP_SOURCE = 1, SCTP_DESTINATION = 2;
/** No chunk of SCTP is looked at: four places for their flags, each with a type that none has. */
const SCTP_NO_CHUNK = 0xff, SCTP_PLACES = 4, SCTP_PLACE_BYTES = 3;

const SIZES = {
  comment: 256,
  multiport: 48,
  addrtype: 8,
  conntrack: 168,
  sctp: 296,
  DNAT: 48,
  MARK: 8,
  masquerade4: 24,
  masquerade6: 40,
} as const;
const AT = {
  multiport: { flags: 0, count: 1, ports: 2, isRange: 32, invert: 47 },
  addrtype: { source: 0, destination: 2, flags: 4 },
  conntrack: { flags: 146, inverted: 148, states: 150 },
  sctp: { destination: 0, source: 4, flagInfo: 268, flags: 284, inverted: 288 },
  DNAT: { flags: 0, first: 4, last: 20, ports: 36, base: 40 },
} as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

function structure(size: number): { bytes: Uint8Array<ArrayBuffer>; view: DataView } {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}

/** Returns the extension for a match; undefined if steps of nftables do the same. */
export function extensionOf(match: RuleMatch): XtExtension | undefined {
  switch (match.kind) {
    case "comment": {
      const { bytes } = structure(SIZES.comment);
      bytes.set(encoder.encode(match.comment));
      return { name: "comment", revision: 0, info: bytes };
    }
    case "multiport":
      return { name: "multiport", revision: 1, info: multiport(match.which, match.spans, match.isInverted) };
    case "local-destination": {
      const { bytes, view } = structure(SIZES.addrtype);
      view.setUint16(AT.addrtype.destination, LOCAL, true);
      view.setUint32(AT.addrtype.flags, match.isInverted ? INVERTED_DESTINATION : 0, true);
      return { name: "addrtype", revision: 1, info: bytes };
    }
    case "states": {
      const { bytes, view } = structure(SIZES.conntrack);
      view.setUint16(AT.conntrack.flags, WITH_STATE | (match.isOld ? STATE_ALIAS : 0), true);
      view.setUint16(AT.conntrack.inverted, match.isInverted ? WITH_STATE : 0, true);
      view.setUint16(AT.conntrack.states, match.bits, true);
      return { name: "conntrack", revision: 3, info: bytes };
    }
    case "ports":
      return match.protocol === "sctp" ? { name: "sctp", revision: 0, info: sctpPorts(match) } : undefined;
    default:
      return undefined;
  }
}

/** Returns the match that an extension stands for; undefined if none that is known here. */
export function matchOf({ name, revision, info }: XtExtension): RuleMatch | undefined {
  const [size, read] = MATCHES[`${name} ${revision}`] ?? [];
  if (read === undefined || info.length !== size) return undefined;
  const match = read(info);
  const again = match && extensionOf(match);
  // What is not known of the structure must be as it is written here.
  return again !== undefined && isEqual(again.info, info) ? match : undefined;
}

type Known<T extends readonly unknown[], R> = Readonly<
  Record<string, readonly [size: number, read: (...args: T) => R]>
>;

const MATCHES: Known<[info: Uint8Array], RuleMatch | undefined> = {
  "comment 0": [SIZES.comment, readComment],
  "multiport 1": [SIZES.multiport, readMultiport],
  "addrtype 1": [SIZES.addrtype, (info) => ({
    kind: "local-destination",
    isInverted: viewOf(info).getUint32(AT.addrtype.flags, true) === INVERTED_DESTINATION,
  })],
  "conntrack 3": [SIZES.conntrack, (info) => {
    const view = viewOf(info);
    return {
      kind: "states",
      bits: view.getUint16(AT.conntrack.states, true),
      isInverted: view.getUint16(AT.conntrack.inverted, true) === WITH_STATE,
      isOld: (view.getUint16(AT.conntrack.flags, true) & STATE_ALIAS) !== 0,
    };
  }],
  "sctp 0": [SIZES.sctp, readSctpPorts],
};

function readComment(info: Uint8Array): RuleMatch | undefined {
  try {
    return { kind: "comment", comment: decoder.decode(info.subarray(0, info.indexOf(0))) };
  } catch {
    return undefined;
  }
}

function readSctpPorts(info: Uint8Array): RuleMatch {
  const view = viewOf(info);
  const inverted = view.getUint32(AT.sctp.inverted, true);
  const flags = view.getUint32(AT.sctp.flags, true);
  const span = (at: number): PortSpan => [view.getUint16(at, true), view.getUint16(at + 2, true)];
  return {
    kind: "ports",
    protocol: "sctp",
    ...(flags & SCTP_SOURCE) === 0
      ? {}
      : { source: { value: span(AT.sctp.source), isInverted: (inverted & SCTP_SOURCE) !== 0 } },
    ...(flags & SCTP_DESTINATION) === 0 ? {} : {
      destination: { value: span(AT.sctp.destination), isInverted: (inverted & SCTP_DESTINATION) !== 0 },
    },
  };
}

function multiport(which: MultiportWhich, spans: readonly PortSpan[], isInverted: boolean): Uint8Array {
  const { bytes, view } = structure(SIZES.multiport);
  view.setUint8(AT.multiport.flags, MULTIPORT.indexOf(which));
  let count = 0;
  const put = (port: number) => view.setUint16(AT.multiport.ports + 2 * count++, port, true);
  for (const [first, last] of spans) {
    put(first);
    if (last === first) continue;
    view.setUint8(AT.multiport.isRange + count - 1, 1);
    put(last);
  }
  view.setUint8(AT.multiport.count, count);
  view.setUint8(AT.multiport.invert, isInverted ? 1 : 0);
  return bytes;
}

function readMultiport(info: Uint8Array): RuleMatch | undefined {
  const view = viewOf(info);
  const which = MULTIPORT[view.getUint8(AT.multiport.flags)];
  const count = view.getUint8(AT.multiport.count);
  if (which === undefined || count > MULTIPORT_PLACES) return undefined;
  const port = (index: number) => view.getUint16(AT.multiport.ports + 2 * index, true);
  const spans: PortSpan[] = [];
  for (let index = 0; index < count; index++) {
    const isRange = view.getUint8(AT.multiport.isRange + index) !== 0;
    spans.push([port(index), port(isRange ? index + 1 : index)]);
    if (isRange) index++;
  }
  return { kind: "multiport", which, spans, isInverted: view.getUint8(AT.multiport.invert) !== 0 };
}

function sctpPorts({ source, destination }: RuleMatch & { readonly kind: "ports" }): Uint8Array {
  const { bytes, view } = structure(SIZES.sctp);
  let [flags, inverted] = [0, 0];
  const sides = [[destination, AT.sctp.destination, SCTP_DESTINATION], [
    source,
    AT.sctp.source,
    SCTP_SOURCE,
  ]] as const;
  for (const [ports, at, flag] of sides) {
    if (ports === undefined) continue;
    flags |= flag;
    if (ports.isInverted) inverted |= flag;
    view.setUint16(at, ports.value[0], true);
    view.setUint16(at + 2, ports.value[1], true);
  }
  for (let place = 0; place < SCTP_PLACES; place++) {
    view.setUint8(AT.sctp.flagInfo + place * SCTP_PLACE_BYTES, SCTP_NO_CHUNK);
  }
  view.setUint32(AT.sctp.flags, flags, true);
  view.setUint32(AT.sctp.inverted, inverted, true);
  return bytes;
}

/** Returns the extension for a target; undefined if a step of nftables does the same. */
export function targetExtensionOf(target: RuleTarget, family: Family): XtExtension | undefined {
  switch (target.kind) {
    case "DNAT": {
      const { bytes, view } = structure(SIZES.DNAT);
      const { address, ports, base } = target;
      const flags = MAP_IPS | (ports === undefined ? 0 : WITH_PORTS) | (base === undefined ? 0 : WITH_BASE);
      view.setUint32(AT.DNAT.flags, flags, true);
      for (const at of [AT.DNAT.first, AT.DNAT.last]) bytes.set(ipBytes(address), at);
      // Ports are in the network's order here.
      for (const [index, port] of (ports ?? []).entries()) view.setUint16(AT.DNAT.ports + 2 * index, port);
      view.setUint16(AT.DNAT.base, base ?? 0);
      return { name: "DNAT", revision: 2, info: bytes };
    }
    case "MASQUERADE": {
      const { bytes, view } = structure(family === 4 ? SIZES.masquerade4 : SIZES.masquerade6);
      // The number of ranges, which the structure for IPv6 does not have.
      if (family === 4) view.setUint32(0, 1, true);
      return { name: "MASQUERADE", revision: 0, info: bytes };
    }
    case "MARK": {
      const { bytes, view } = structure(SIZES.MARK);
      view.setUint32(0, target.value, true);
      view.setUint32(4, target.mask, true);
      return { name: "MARK", revision: 2, info: bytes };
    }
    default:
      return undefined;
  }
}

/** Returns the target that an extension stands for; undefined if none that is known here. */
export function targetOf({ name, revision, info }: XtExtension, family: Family): RuleTarget | undefined {
  const [size, read] = TARGETS[`${name} ${revision} ${family}`] ?? [];
  if (read === undefined || info.length !== size) return undefined;
  const target = read(info, family);
  const again = target && targetExtensionOf(target, family);
  return again !== undefined && isEqual(again.info, info) ? target : undefined;
}

const TARGETS: Known<[info: Uint8Array, family: Family], RuleTarget | undefined> = {
  "DNAT 2 4": [SIZES.DNAT, readTranslation],
  "DNAT 2 6": [SIZES.DNAT, readTranslation],
  "MASQUERADE 0 4": [SIZES.masquerade4, () => ({ kind: "MASQUERADE" })],
  "MASQUERADE 0 6": [SIZES.masquerade6, () => ({ kind: "MASQUERADE" })],
  "MARK 2 4": [SIZES.MARK, readMark],
  "MARK 2 6": [SIZES.MARK, readMark],
};

function readTranslation(info: Uint8Array, family: Family): RuleTarget | undefined {
  const view = viewOf(info);
  const flags = view.getUint32(AT.DNAT.flags, true);
  const port = (at: number) => view.getUint16(at);
  const address = ipOf(info.subarray(AT.DNAT.first, AT.DNAT.first + (family === 4 ? 4 : 16)));
  return address && {
    kind: "DNAT",
    address,
    ports: (flags & WITH_PORTS) === 0 ? undefined : [port(AT.DNAT.ports), port(AT.DNAT.ports + 2)],
    base: (flags & WITH_BASE) === 0 ? undefined : port(AT.DNAT.base),
  };
}

function readMark(info: Uint8Array): RuleTarget {
  const view = viewOf(info);
  return { kind: "MARK", value: view.getUint32(0, true), mask: view.getUint32(4, true) };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
