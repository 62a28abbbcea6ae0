// The built-in portmap against the originals: the same rules, and each checks and removes those of the other.
import { assertEquals } from "@std/assert";
import { dnatChain } from "../../lib/builtin/portmap_frame.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone } from "./builtin_call.ts";
import { inWorld } from "./builtin_world.ts";
import { need } from "./need.ts";
import {
  callOf,
  type Families,
  leftOf,
  natRules,
  nftRules,
  ORIGINALS,
  OURS,
  THROUGH_PROGRAMS,
} from "./portmap_world.ts";

interface Case {
  readonly config: JsonObject;
  readonly families?: Families;
}

const ports = (...portMappings: readonly JsonObject[]) => ({ runtimeConfig: { portMappings } });
const tcp = (hostPort: number, containerPort = 80, more: JsonObject = {}) => ({
  ...{ hostPort, containerPort, protocol: "tcp" },
  ...more,
});
const MANY = Array.from({ length: 17 }, (_, at) => tcp(20_000 + 2 * at, 80 + at));

const CASES: Readonly<Record<string, Case>> = {
  "no ports": { config: {} },
  "an empty list of ports": { config: ports() },
  "one port": { config: ports(tcp(18080)) },
  "one port of an IPv4 pod": { config: ports(tcp(18080)), families: [4] },
  "one port of an IPv6 pod": { config: ports(tcp(18080)), families: [6] },
  "a pod without addresses": { config: ports(tcp(18080)), families: [] },
  "three protocols": {
    config: ports(tcp(18080), tcp(18053, 53, { protocol: "udp" }), tcp(18132, 132, { protocol: "sctp" })),
  },
  "an address of the host": { config: ports(tcp(18080, 80, { hostIP: "192.0.2.9" })) },
  "an IPv6 address of the host": { config: ports(tcp(18080, 80, { hostIP: "2001:db8::9" })) },
  "an IPv4 address for an IPv6 pod": {
    config: ports(tcp(18080, 80, { hostIP: "192.0.2.9" })),
    families: [6],
  },
  "0.0.0.0": { config: ports(tcp(18080, 80, { hostIP: "0.0.0.0" })) },
  "::": { config: ports(tcp(18080, 80, { hostIP: "::" })) },
  "one port on two addresses": {
    config: ports(tcp(18080, 80, { hostIP: "192.0.2.9" }), tcp(18080, 81, { hostIP: "192.0.2.8" })),
  },
  "more ports than one rule has place for": { config: ports(...MANY) },
  "a mark": { config: { ...ports(tcp(18080)), markMasqBit: 7 } },
  "the highest mark": { config: { ...ports(tcp(18080)), markMasqBit: 31 } },
  "no source translation": { config: { ...ports(tcp(18080)), snat: false } },
  "everything masqueraded": { config: { ...ports(tcp(18080)), masqAll: true } },
  "conditions": {
    config: {
      ...ports(tcp(18080)),
      conditionsV4: ["!", "-s", "192.0.2.0/24", "-m", "comment", "--comment", "a b"],
      conditionsV6: ["!", "-s", "2001:db8::/32"],
    },
  },
};

/** Rules made in this process, and by programs. */
const BOTH_WAYS = [[THROUGH_PROGRAMS, OURS], [OURS, THROUGH_PROGRAMS]] as const;

for (const [needs, original] of ORIGINALS) {
  for (const [name, { config, families }] of Object.entries(CASES)) {
    if (needs === "cni-1.1.1" && config.masqAll === true) continue;
    Deno.test({
      name:
        `portmap with iptables: ${name}: the built-in one and that of ${needs} make the same rules, and each ` +
        "checks and removes those of the other",
      ...need("root", "ip", "iptables", needs),
      fn: inWorld(async (world) => {
        const netns = await world.netns("a");
        const call = callOf(world, netns, { ...config, backend: "iptables" }, families);
        const chain = await dnatChain({ network: `net-${world.tag}`, containerId: call.containerId ?? "" });
        const seen: unknown[] = [];
        const pairs = [
          [original, OURS],
          [OURS, original],
          ...needs === "cni-1.9.1" ? BOTH_WAYS : [],
        ] as const;
        for (const [add, other] of pairs) {
          const answer = await add({ ...call, verb: "ADD" });
          assertDone(answer);
          const { dns = {}, ...result } = answer.document;
          const after = { ...call, config: { ...call.config, prevResult: answer.document } };
          for (const caller of [OURS, THROUGH_PROGRAMS]) {
            assertDone(await caller({ ...after, verb: "CHECK" }));
          }
          const checked = await original({ ...after, verb: "CHECK" });
          // That of 1.1.1 looks for the rules of each family among those of the other, and never finds them (plugins#819).
          if (needs !== "cni-1.1.1") assertDone(checked);
          seen.push({ result: { ...result, dns }, rules: await natRules(chain), checked: checked.code });
          for (const caller of [other, add]) assertDone(await caller({ ...after, verb: "DEL" }));
          assertEquals(await leftOf(world, chain), []);
        }
        for (const one of seen) assertEquals(one, seen[0]);
      }),
    });
  }
}

/** The words of iptables have no meaning for nftables. */
const NFT_CONDITIONS = {
  conditionsV4: ["ip", "saddr", "!=", "192.0.2.0/24"],
  conditionsV6: ["ip6", "saddr", "!=", "2001:db8::/32"],
};

/** A rule as both write it: the original writes conditions in front of the way to all rules. */
function withoutConditions(rule: string): string {
  return rule.replace(/ip6? saddr != \S+ /, "");
}

for (const [name, { config, families }] of Object.entries(CASES)) {
  const { markMasqBit: _, ...known } = config;
  Deno.test({
    name:
      `portmap with nftables: ${name}: the built-in one and that of cni-1.9.1 make the same rules, apart from those ` +
      "for neighbours, and each checks and removes those of the other",
    ...need("root", "ip", "nft", "cni-1.9.1"),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const conditions = "conditionsV4" in config ? NFT_CONDITIONS : {};
      const call = callOf(world, netns, { ...known, ...conditions, backend: "nftables" }, families);
      const { containerId = "" } = call;
      const [, original = OURS] = ORIGINALS[1] ?? [];
      const seen: { readonly result: unknown; readonly rules: readonly string[] }[] = [];
      for (const [add, other] of [[original, OURS], [OURS, original]] as const) {
        const answer = await add({ ...call, verb: "ADD" });
        assertDone(answer);
        const { dns = {}, ...result } = answer.document;
        const after = { ...call, config: { ...call.config, prevResult: answer.document } };
        for (const caller of [add, other]) assertDone(await caller({ ...after, verb: "CHECK" }));
        const rules = await nftRules(containerId);
        seen.push({ result: { ...result, dns }, rules: rules.map(withoutConditions) });
        for (const caller of [other, add]) assertDone(await caller({ ...after, verb: "DEL" }));
        assertEquals(await leftOf(world, "CNI-DN-none"), []);
      }
      const [originals, ours] = seen;
      const neighbours = ours?.rules.filter((rule) => rule.includes("ct status dnat")) ?? [];
      assertEquals({ ...ours, rules: ours?.rules.filter((rule) => !neighbours.includes(rule)) }, originals);
      const translated = ours?.rules.filter((rule) => rule.includes(" dnat to ")) ?? [];
      assertEquals(neighbours.length, config.snat === false ? 0 : translated.length);
    }),
  });
}
