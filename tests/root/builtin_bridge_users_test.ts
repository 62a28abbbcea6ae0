// What users of the original bridge complain about: the addresses of the link layer, and those that were used before.
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, callBuiltin, resultOf } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { need } from "./need.ts";
import { PeerServer, seenOnce } from "./plugins_traffic.ts";

const PORT = 80;

function configOf(world: World, addresses: readonly JsonObject[]): JsonObject {
  return {
    ...{
      cniVersion: "1.0.0",
      name: `net-${world.tag}`,
      type: "bridge",
      bridge: world.bridge,
      isGateway: true,
    },
    ipam: { type: "static", addresses },
  };
}

Deno.test({
  name:
    "U6 the host reaches the next owner of an address at once, in both families (plugins#756, plugins#588)",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const ips = [`${world.subnet4}.7`, `${world.subnet6}::7`];
    const config = configOf(world, [{ address: `${ips[0]}/24` }, { address: `${ips[1]}/64` }]);
    // The bridge stays, and with it what the host knows of its neighbours.
    const other = { containerId: `o-${world.tag}`, netns: await world.netns("o"), ifName: "eth0" };
    assertDone(
      await callBuiltin("bridge", {
        ...{ ...other, verb: "ADD" },
        config: configOf(world, [{ address: `${world.subnet4}.9/24` }, {
          address: `${world.subnet6}::9/64`,
        }]),
      }),
    );
    const owners: string[] = [];
    for (const name of ["a", "b", "c"]) {
      const netns = await world.netns(name);
      const call = { containerId: `${name}-${world.tag}`, netns, ifName: "eth0" };
      const { interfaces = [] } = resultOf(await callBuiltin("bridge", { ...call, verb: "ADD", config }));
      owners.push(interfaces[2]?.mac ?? "");
      await using _server = await PeerServer.start(netns, PORT);
      for (const [family, ip] of ips.entries()) {
        // The first packet of another owner is not lost: no second try.
        const seen = await seenOnce("/proc/self/ns/net", ip, PORT);
        assertEquals(seen, [`${world.subnet4}.1`, `${world.subnet6}::1`][family], `${name} ${ip}`);
      }
      assertDone(await callBuiltin("bridge", { ...call, verb: "DEL", config }));
    }
    assertEquals(new Set(owners).size, 3);
  }),
});

Deno.test({
  name:
    "U14 the MAC address of the bridge stays while pods come and go, with IPv6 alone too (cni#285, plugins#60)",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const macOf = async () => JSON.parse(await sh(`ip -j link show dev ${world.bridge}`))[0].address;
    const macs = new Set<string>();
    const pods = await Promise.all(
      Array.from({ length: 10 }, async (_, pod) => ({ pod, netns: await world.netns(`p${pod}`) })),
    );
    const call = ({ pod, netns }: typeof pods[number]) => ({
      ...{ containerId: `c${pod}-${world.tag}`, netns, ifName: "eth0" },
      config: configOf(world, [{ address: `${world.subnet6}::${pod + 2}/64` }]),
    });
    for (const pod of pods) {
      assertDone(await callBuiltin("bridge", { ...call(pod), verb: "ADD" }));
      macs.add(await macOf());
    }
    for (const pod of pods.slice(0, -1)) {
      assertDone(await callBuiltin("bridge", { ...call(pod), verb: "DEL" }));
      macs.add(await macOf());
    }
    assertEquals(macs.size, 1);
  }),
});
