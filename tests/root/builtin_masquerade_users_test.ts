// What users of the originals complain about in the masquerading of bridge and ptp: rules that stay, and IPv6 in the same switch.
import { assert, assertEquals } from "@std/assert";
import { MASQUERADE_BACKENDS } from "../../lib/builtin/masquerade.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { inWorld, masqueradeRules, type World } from "./builtin_world.ts";
import { CNI_1_9_1, need } from "./need.ts";

function configOf(world: World, type: string, more: JsonObject): JsonObject {
  const ranges = [[{ subnet: `${world.subnet4}.0/24` }], [{ subnet: `${world.subnet6}::/64` }]];
  const bridge = type === "bridge" ? { bridge: world.bridge, isGateway: true } : {};
  return {
    ...{ cniVersion: "1.0.0", name: `net-${world.tag}`, type, ...bridge },
    ...{ ipMasq: true, ipam: { type: "host-local", dataDir: world.dir, ranges }, ...more },
  };
}

type Caller = (type: string, call: Call) => Promise<Answer>;

const ADDERS: Readonly<Record<string, Caller>> = {
  "the built-in one": callBuiltin,
  "that of 1.9.1": (type, call) => callBinary(CNI_1_9_1, type, call),
};

for (const type of ["bridge", "ptp"]) {
  for (const ipMasqBackend of MASQUERADE_BACKENDS) {
    for (const [adder, add] of Object.entries(ADDERS)) {
      Deno.test({
        name:
          `U1 ${type}: a DEL without a namespace, or with one that is gone, removes what ${adder} has made, in ${ipMasqBackend}`,
        ...need("root", "ip", "nft", "iptables", "cni-1.9.1"),
        fn: inWorld(async (world) => {
          const config = configOf(world, type, { ipMasqBackend });
          for (const [index, namespace] of ["", "the path"].entries()) {
            const containerId = `c${index}-${world.tag}`;
            const path = `/run/netns/pwt-${world.tag}-${index}`;
            await createNetns(path);
            const call = { containerId, netns: path, ifName: "eth0", config };
            assertDone(await add(type, { ...call, verb: "ADD" }));
            assert((await masqueradeRules(containerId)).length > 0);
            await removeNetns(path);
            const netns = namespace === "" ? "" : path;
            assertDone(await callBuiltin(type, { ...call, netns, verb: "DEL" }));
            assertEquals(await masqueradeRules(containerId), []);
          }
        }),
      });
    }
  }
}

for (const type of ["bridge", "ptp"]) {
  for (const ipMasqBackend of MASQUERADE_BACKENDS) {
    Deno.test({
      name:
        `U12 ${type}: one family is masqueraded without the other, by ${ipMasqBackend}, and CHECK and DEL know it`,
      ...need("root", "ip", "nft", "iptables"),
      fn: inWorld(async (world) => {
        const netns = await world.netns("a");
        const families = [
          [{ ipMasqIPv6: false }, world.subnet6],
          [{ ipMasqIPv4: false }, world.subnet4],
          [{ ipMasq: false, ipMasqIPv4: true }, world.subnet6],
        ] as const;
        for (const [index, [more, exempt]] of families.entries()) {
          const config = configOf(world, type, { ipMasqBackend, ...more });
          const call = { containerId: `c${index}-${world.tag}`, netns, ifName: "eth0", config };
          const added = await callBuiltin(type, { ...call, verb: "ADD" });
          assertDone(added);
          const rules = await masqueradeRules(call.containerId);
          assert(
            rules.some((rule) => rule.includes("masquerade") || rule.includes("MASQUERADE")),
            `${rules}`,
          );
          assertEquals(rules.filter((rule) => rule.includes(exempt)), []);
          const checked = { ...call, config: { ...config, prevResult: added.document } };
          assertDone(await callBuiltin(type, { ...checked, verb: "CHECK" }));
          const both = { ...checked, config: { ...checked.config, ipMasqIPv4: true, ipMasqIPv6: true } };
          assertEquals((await callBuiltin(type, { ...both, verb: "CHECK" })).code, 1);
          assertDone(await callBuiltin(type, { ...checked, verb: "DEL" }));
          assertEquals(await masqueradeRules(call.containerId), []);
        }
      }),
    });
  }
}
