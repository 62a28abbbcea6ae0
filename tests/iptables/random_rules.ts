/** Rules of iptables at random, as far as the built-in plugins write such. */
import { networkOf } from "../../lib/cni/address.ts";
import {
  type Family,
  MULTIPORT,
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
} from "../../lib/iptables/rule.ts";
import type { Random } from "../cni/random.ts";

/** Which targets a rule may have, beside verdicts. */
export interface Targets {
  readonly chains: readonly string[];
  readonly translates: boolean;
  readonly masquerades: boolean;
  readonly drops: boolean;
}

/** Returns a rule as it is read again from its text, and from the kernel. */
export function randomRule(random: Random, family: Family, targets: Targets): Rule {
  const maybe = <T>(percent: number, make: () => T): Negatable<T> | undefined =>
    random.chance(percent) ? { value: make(), isInverted: random.chance(20) } : undefined;
  const protocol = random.chance(50) ? random.one(Object.keys(PORT_PROTOCOLS) as PortProtocol[]) : undefined;
  const isInverted = protocol !== undefined && random.chance(10);
  const base = {
    source: maybe(30, () => network(random, family)),
    destination: maybe(30, () => network(random, family)),
    incoming: maybe(20, () => device(random)),
    outgoing: maybe(20, () => device(random)),
    protocol: protocol && { value: PORT_PROTOCOLS[protocol], isInverted },
  };
  const known = Object.fromEntries(Object.entries(base).filter(([, value]) => value !== undefined));
  return {
    ...known,
    matches: randomMatches(random, isInverted ? undefined : protocol),
    target: randomTarget(random, family, { ...targets, withPorts: protocol !== undefined && !isInverted }),
  };
}

function network(random: Random, family: Family) {
  const bits = family === 4 ? 32 : 128;
  let value = 0n;
  for (let bit = 0; bit < bits; bit += 16) {
    // Groups of zeros, which IPv6 shortens.
    value = value << 16n | (random.chance(40) ? 0n : BigInt(random.below(0x1_0000)));
  }
  const prefix = random.chance(50) ? bits : 1 + random.below(bits);
  // One that has the address of an IPv4 host inside is read as that.
  if (family === 6) value |= 0x2000n << 112n;
  return networkOf({ ip: { family, value }, prefix });
}

function device(random: Random): string {
  return random.one(["eth0", "br-1.5", "pw0", "a", "eth+", "cni_x@y", "fifteen-letters"]);
}

function span(random: Random): PortSpan {
  const first = random.below(0x1_0000);
  return [first, random.chance(50) ? first : first + random.below(0x1_0000 - first)];
}

function randomMatches(random: Random, protocol: PortProtocol | undefined): readonly RuleMatch[] {
  const isInverted = random.chance(20);
  const makers: (() => RuleMatch)[] = [
    () => ({ kind: "comment", comment: comment(random) }),
    () => ({ kind: "local-destination", isInverted }),
    () => states(random, isInverted),
    () => ({
      kind: "mark",
      value: random.below(2 ** 32),
      mask: random.chance(50) ? WHOLE_MARK : random.below(2 ** 32),
      isInverted,
    }),
  ];
  if (protocol !== undefined) {
    makers.push(
      () => ports(random, protocol, isInverted),
      () => ({
        kind: "multiport",
        which: random.one(MULTIPORT),
        spans: Array.from({ length: 1 + random.below(7) }, () => span(random)),
        isInverted,
      }),
    );
  }
  return makers.filter(() => random.chance(40)).toSorted(() => random.below(3) - 1).map((make) => make());
}

function ports(random: Random, protocol: PortProtocol, isInverted: boolean): RuleMatch {
  const side = random.chance(80) ? "destination" : "source";
  return { kind: "ports", protocol, [side]: { value: span(random), isInverted } };
}

function states(random: Random, isInverted: boolean): RuleMatch {
  const isOld = random.chance(20);
  const bits = Object.values(STATES).filter((bit) => !isOld || (bit !== STATES.SNAT && bit !== STATES.DNAT));
  const some = bits.filter(() => random.chance(40));
  return {
    kind: "states",
    bits: (some.length === 0 ? [STATES.NEW] : some).reduce((sum, bit) => sum | bit, 0),
    isInverted,
    isOld,
  };
}

function comment(random: Random): string {
  const letters = "abcXYZ019 -_./:\"'\\!%$&()[]{}<>|;,#~";
  return Array.from(
    { length: 1 + random.below(random.chance(10) ? 255 : 40) },
    () => random.one([...letters]),
  ).join("");
}

function randomTarget(
  random: Random,
  family: Family,
  { chains, translates, masquerades, drops, withPorts }: Targets & { readonly withPorts: boolean },
): RuleTarget {
  const makers: (() => RuleTarget)[] = [
    () => ({ kind: "verdict", verdict: random.one(VERDICTS.filter((one) => drops || one !== "DROP")) }),
    () => ({ kind: "MARK", value: random.below(2 ** 32), mask: random.below(2 ** 32) }),
  ];
  if (chains.length > 0) makers.push(() => ({ kind: "jump", chain: random.one(chains) }));
  if (masquerades) makers.push(() => ({ kind: "MASQUERADE" }));
  if (translates) makers.push(() => translation(random, family, withPorts));
  return random.one(makers)();
}

function translation(random: Random, family: Family, withPorts: boolean): RuleTarget {
  const { ip } = network(random, family);
  if (!withPorts || random.chance(30)) {
    return { kind: "DNAT", address: ip, ports: undefined, base: undefined };
  }
  const first = 1 + random.below(60_000);
  const last = random.chance(50) ? first : first + 1 + random.below(5_000);
  const base = last > first && random.chance(50) ? 1 + random.below(60_000) : undefined;
  return { kind: "DNAT", address: ip, ports: [first, last], base };
}
