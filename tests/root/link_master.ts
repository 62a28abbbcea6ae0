// What every plugin does alike whose interfaces are on a master.
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, type Call, callBuiltin } from "./builtin_call.ts";
import { connects, sh } from "./builtin_world.ts";
import { linkTest } from "./link_life.ts";
import { type MasterWorld, staticIpam, V4, V6 } from "./master_world.ts";
import type { LinkKind } from "./need_links.ts";

/** A call without its verb. */
export function callIn(
  type: LinkKind,
  world: MasterWorld,
  netns: string,
  more: JsonObject,
): Omit<Call, "verb"> {
  const config = { cniVersion: "1.1.0", name: `net-${world.tag}`, type, ...more };
  return { containerId: `c-${world.tag}`, netns, ifName: "eth0", config };
}

/** Tests that an ADD refuses masters; `cases` are configurations, and what is said about them. */
export function refusesMasters(
  type: LinkKind,
  common: JsonObject,
  cases: readonly (readonly [JsonObject, RegExp])[],
): void {
  linkTest(
    type,
    "a master that is missing or too small is refused by name, before anything is made",
    async (world) => {
      const netns = await world.pod("a");
      const { master } = world;
      const tooSmall = new RegExp(`the MTU of 1501 is above that of the master "${master}", which is 1500$`);
      const all = [
        [{ master, mtu: 1501 }, tooSmall] as const,
        [
          { master: "absent0" },
          /the master "absent0" does not exist$/,
        ] as const,
        ...cases,
      ];
      for (const [more, says] of all) {
        const call = callIn(type, world, netns, { ...staticIpam([V4(world)]), ...common, ...more });
        const { code, document } = await callBuiltin(type, { ...call, verb: "ADD" });
        assertEquals([code, document.code], [1, 7]);
        assertMatch(document.msg, says);
        assertEquals(JSON.parse(await sh("ip -j link show", netns)).length, 1);
      }
    },
  );
}

/** Tests that pods reach each other and the network. */
export function reachesOthers(type: LinkKind): void {
  linkTest(type, "pods on one master reach each other and the network, in both families", async (world) => {
    const { subnet4, subnet6, lan, master } = world;
    await sh(`ip addr add ${subnet4}.1/24 dev far0; ip addr add ${subnet6}::1/64 dev far0 nodad`, lan);
    const pods: string[] = [];
    for (const [at, host] of [["a", 7], ["b", 8]] as const) {
      const netns = await world.pod(at);
      pods.push(netns);
      const more = { master, ...staticIpam([V4(world, host), V6(world, host)]) };
      const call = { ...callIn(type, world, netns, more), containerId: `c-${world.tag}-${at}` };
      assertDone(await callBuiltin(type, { ...call, verb: "ADD" }));
    }
    const [one, other] = pods;
    for (const prefix of [`${subnet4}.`, `${subnet6}::`]) {
      assert(await connects(one, other, `${prefix}8`), prefix);
      assert(await connects(one, lan, `${prefix}1`), prefix);
    }
  });
}
