// A router on the bridge: what it advertises must not stand beside the addresses and routes of the IPAM plugin.
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { until } from "../until.ts";
import { advertise, advertisementsIn } from "./advertising_router.ts";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { need } from "./need.ts";

const PREFIX = "fd99:99::";

/** A namespace on the bridge that no plugin has made. */
async function join(world: World, name: string): Promise<string> {
  const netns = await world.netns(name);
  await sh(
    `ip link add v${name}${world.tag} type veth peer name eth0 netns ${netns.replace(/.*\//, "")}
    ip link set v${name}${world.tag} master ${world.bridge} up`,
  );
  await sh("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set lo up; ip link set eth0 up", netns);
  await until(async () => (await sh("ip -6 -o addr show dev eth0 scope link -tentative", netns)) !== "");
  return netns;
}

/** Global addresses and default routes of IPv6. */
async function ofIpv6(netns: string): Promise<string> {
  return await sh("ip -6 -o addr show dev eth0 scope global; ip -6 route show default", netns);
}

const NEEDED = need("root", "ip", "perl");

Deno.test({
  name:
    "U9 a pod has the addresses and routes of its result and no others, whatever a router on the bridge advertises",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const addresses: readonly (readonly JsonObject[])[] = [
      [{ address: `${world.subnet4}.7/24` }, { address: `${world.subnet6}::7/64` }],
      [{ address: `${world.subnet4}.8/24` }],
    ];
    const pods: string[] = [];
    for (const [index, ips] of addresses.entries()) {
      const netns = await world.netns(`p${index}`);
      const config = {
        ...{ cniVersion: "1.0.0", name: `net-${world.tag}`, type: "bridge", bridge: world.bridge },
        ...{ isDefaultGateway: true, ipam: { type: "static", addresses: ips } },
      };
      const call = { containerId: `c${index}-${world.tag}`, netns, ifName: "eth0", config };
      assertDone(await callBuiltin("bridge", { ...call, verb: "ADD" }));
      pods.push(netns);
    }
    const before = await Promise.all(pods.map(ofIpv6));
    const [router, plain] = [await join(world, "r"), await join(world, "o")];
    await advertise(router, "eth0", PREFIX);
    // Another one on the bridge takes both: so the pods have received what they did not use.
    await until(async () => (await ofIpv6(plain)).includes(PREFIX));
    assertStringIncludes(await ofIpv6(plain), "default via fe80:");
    for (const netns of pods) await until(async () => await advertisementsIn(netns) > 0);
    assertEquals(await Promise.all(pods.map(ofIpv6)), before);
  }),
});
