// A network whose subnet has changed, on a bridge that still has the gateway of the former one.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { need } from "./need.ts";

const NEEDED = need("root", "ip");

async function call(world: World, name: string, address: string, more: JsonObject = {}) {
  const netns = `/run/netns/pwt-${world.tag}-${name}`;
  const config = {
    ...{ cniVersion: "1.0.0", name: `net-${world.tag}`, type: "bridge", bridge: world.bridge },
    ...{ isGateway: true, ipam: { type: "static", addresses: [{ address }] }, ...more },
  };
  const attached = { containerId: `${name}-${world.tag}`, netns, ifName: "eth0", config };
  return {
    add: () => callBuiltin("bridge", { ...attached, verb: "ADD" }),
    del: async () => assertDone(await callBuiltin("bridge", { ...attached, verb: "DEL" })),
    make: await world.netns(name),
  };
}

const addressesOf = (world: World) =>
  sh(`ip -4 -br addr show dev ${world.bridge} | awk '{ $1 = $2 = ""; print }'`);
const has = async (world: World, ...addresses: string[]) =>
  assertEquals((await addressesOf(world)).trim(), addresses.join(" "));

Deno.test({
  name:
    "U3 a changed subnet is an error with the bridge, both addresses and the other ports, until none is left: then the bridge follows",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const former = [await call(world, "a", "10.198.1.7/24"), await call(world, "b", "10.198.1.8/24")];
    for (const one of former) assertDone(await one.add());
    const next = await call(world, "c", "10.198.2.7/24");
    for (const [index, ports] of ["2 other ports", "1 other port"].entries()) {
      const refused = await next.add();
      assertEquals(refused.code, 1);
      assertStringIncludes(
        refused.document.msg,
        `"${world.bridge}" already has an IP address different from 10.198.2.1/24: 10.198.1.1/24, and ${ports}`,
      );
      await has(world, "10.198.1.1/24");
      await former[index]?.del();
    }
    const added = await next.add();
    assertDone(added);
    assertStringIncludes(added.stderr, "10.198.2.1/24 in place of 10.198.1.1/24");
    await has(world, "10.198.2.1/24");
    await next.del();
    // And back, over more than one change.
    const back = await call(world, "d", "10.198.1.9/24");
    assertDone(await back.add());
    await has(world, "10.198.1.1/24");
  }),
});

Deno.test({
  name: "U3 an address that podwire has not given a bridge stays, also on a bridge without ports",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const pod = await call(world, "a", "10.198.2.7/24");
    await sh(`ip link add ${world.bridge} type bridge; ip addr add 10.198.1.1/24 dev ${world.bridge}`);
    assertEquals((await pod.add()).code, 1);
    await has(world, "10.198.1.1/24");
    await sh(`ip link del ${world.bridge}`);
    // On a bridge that podwire has made, too.
    assertDone(await pod.add());
    await pod.del();
    await sh(`ip addr flush dev ${world.bridge}; ip addr add 10.198.1.1/24 dev ${world.bridge}`);
    const refused = await pod.add();
    assert(refused.code !== 0);
    assertStringIncludes(refused.document.msg, "and 0 other ports; forceAddress would replace it");
    await has(world, "10.198.1.1/24");
  }),
});
