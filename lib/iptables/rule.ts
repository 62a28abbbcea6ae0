import type { Cidr, Ip } from "../cni/address.ts";

export type { Family } from "../cni/default_route.ts";

/**
 * The first release of iptables that writes its rules so. That of 1.8.10 has the addresses first, and for IPv4 it takes the
 * protocol from the header of the packet.
 */
export type RuleForm = "1.8.9" | "1.8.10";

/** With members that can be set, as while it is read. */
export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A value, or any other. */
export interface Negatable<T> {
  readonly value: T;
  readonly isInverted: boolean;
}

/** Ports from the first to the last. */
export type PortSpan = readonly [first: number, last: number];

/** A condition of an extension of iptables. */
export type RuleMatch =
  | { readonly kind: "comment"; readonly comment: string }
  | {
    readonly kind: "ports";
    readonly protocol: PortProtocol;
    readonly source?: Negatable<PortSpan> | undefined;
    readonly destination?: Negatable<PortSpan> | undefined;
  }
  | {
    readonly kind: "multiport";
    readonly which: MultiportWhich;
    readonly spans: readonly PortSpan[];
    readonly isInverted: boolean;
  }
  /** A destination that is an address of this machine. */
  | { readonly kind: "local-destination"; readonly isInverted: boolean }
  | {
    readonly kind: "states";
    /** The sum of the bits of {@linkcode STATES}. */
    readonly bits: number;
    readonly isInverted: boolean;
    /** Whether it was written as the older `-m state --state`. */
    readonly isOld: boolean;
  }
  | { readonly kind: "mark"; readonly value: number; readonly mask: number; readonly isInverted: boolean }
  | UnknownPart;

/** What becomes of a packet. */
export type RuleTarget =
  | { readonly kind: "verdict"; readonly verdict: Verdict }
  | { readonly kind: "jump" | "goto"; readonly chain: string }
  | {
    readonly kind: "DNAT";
    readonly address: Ip;
    readonly ports?: PortSpan | undefined;
    /** The port of a packet that becomes the first one. */
    readonly base?: number | undefined;
  }
  | { readonly kind: "MASQUERADE" }
  | { readonly kind: "MARK"; readonly value: number; readonly mask: number }
  | UnknownPart;

/** What iptables may be able to read, but is not read here; no two different parts have the same text. */
export interface UnknownPart {
  readonly kind: "unknown";
  readonly text: string;
}

/** A rule of iptables. */
export interface Rule {
  readonly source?: Negatable<Cidr> | undefined;
  readonly destination?: Negatable<Cidr> | undefined;
  /** Name of the interface; with a `+` at the end, how it begins. */
  readonly incoming?: Negatable<string> | undefined;
  readonly outgoing?: Negatable<string> | undefined;
  /** Number of the protocol. */
  readonly protocol?: Negatable<number> | undefined;
  readonly matches: readonly RuleMatch[];
  readonly target?: RuleTarget | undefined;
}

/** The decisions that end a chain. */
export const VERDICTS = ["ACCEPT", "DROP", "RETURN"] as const;

/** One of {@linkcode VERDICTS}. */
export type Verdict = typeof VERDICTS[number];

/** The protocols with ports, by their numbers. */
export const PORT_PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** One of {@linkcode PORT_PROTOCOLS}. */
export type PortProtocol = keyof typeof PORT_PROTOCOLS;

/** Names of protocols as iptables prints them. */
export const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  1: "icmp",
  ...Object.fromEntries(Object.entries(PORT_PROTOCOLS).map(([name, number]) => [number, name])),
};

/** Which ports the match `multiport` looks at, by its numbers. */
export const MULTIPORT = ["sports", "dports", "ports"] as const;

/** One of {@linkcode MULTIPORT}. */
export type MultiportWhich = typeof MULTIPORT[number];

/** The states of connections with the bits of the match `conntrack`, in the order in which iptables prints them. */
export const STATES = {
  INVALID: 0x1,
  NEW: 0x8,
  RELATED: 0x4,
  ESTABLISHED: 0x2,
  UNTRACKED: 0x100,
  SNAT: 0x40,
  DNAT: 0x80,
} as const;

/** Every bit of a mark. */
export const WHOLE_MARK = 0xffff_ffff;

/** Whether all parts of a rule are known, and printed as iptables prints them. */
export function isKnown({ protocol, matches, target }: Rule): boolean {
  return (protocol === undefined || protocol.value in PROTOCOL_NAMES) && target?.kind !== "unknown" &&
    matches.every(({ kind }) => kind !== "unknown");
}
