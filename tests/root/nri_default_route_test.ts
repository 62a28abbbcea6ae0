// The default route that an annotation asks for, in a namespace whose eth0 another program made, on the real kernel.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { asResult } from "../../lib/cni/result.ts";
import { networksOf, wantedNetworksOf } from "../../lib/nri/asked_networks.ts";
import { OWN_ANNOTATION } from "../../lib/nri/annotations.ts";
import { parsePolicy } from "../../lib/nri/policy.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { need } from "./need.ts";
import { RELEASES } from "./plugins_world.ts";
import { RouteWorld } from "./route_world.ts";

const DUAL = { a: ["10.80.0.0/24", "fd00:80::/64"], b: ["10.81.0.0/24", "fd00:81::/64"] };
const CLUSTER = ["10.244.0.0/16", "10.96.0.0/12", "fd00:244::/56"];
const ETH0 = ["10.90.0.1 eth0", "fd00:90::1 eth0"];

/** What a network plugin of a cluster leaves in a pod. */
const CLUSTER_NETWORK = [
  "ip link add eth0 type veth peer name far0",
  "ip link set far0 up",
  "ip link set eth0 up",
  "ip address add 10.90.0.2/24 dev eth0",
  "ip address add fd00:90::2/64 dev eth0 nodad",
  "ip route add default via 10.90.0.1 dev eth0 metric 100 mtu 1400 proto 17 src 10.90.0.2",
  "ip -6 route add default via fd00:90::1 dev eth0 metric 512",
  // The cluster has this route already.
  "ip route add 10.96.0.0/12 via 10.90.0.9 dev eth0",
];

interface Wanted {
  readonly network: string;
  readonly "default-route"?: readonly string[];
}

/** Attaches the pod to networks as its annotation says. */
async function attach(world: RouteWorld, wanted: readonly Wanted[]): Promise<Sandbox> {
  const elements = wanted.map(({ network, ...keys }) => ({ name: world.name(network), ...keys }));
  const policy = parsePolicy(
    JSON.stringify({
      networks: Object.fromEntries(
        Object.keys(DUAL).map((
          letter,
        ) => [world.name(letter), { namespaces: { "*": { defaultRoute: true } } }]),
      ),
      clusterCidrs: CLUSTER,
    }),
    "nri.json",
  );
  const pod = {
    name: "web",
    namespace: "shop",
    uid: "u",
    annotations: { [OWN_ANNOTATION]: JSON.stringify(elements) },
  };
  return await world.podwire.sandboxes.run({
    id: world.world.base("pod"),
    name: pod.name,
    namespace: pod.namespace,
    source: { kind: "path", path: world.world.path("pod") },
    networks: wantedNetworksOf(networksOf(pod, policy)),
  });
}

/** All routes through eth0, as the kernel shows them. */
async function routesOfEth0({ world }: RouteWorld): Promise<string> {
  return await world.sh(
    "ip -d -4 route show dev eth0; ip -d -6 route show dev eth0 | grep -v fe80",
    world.path("pod"),
  );
}

async function clusterPod(world: RouteWorld): Promise<string> {
  await world.networks(DUAL);
  for (const line of CLUSTER_NETWORK) await world.world.sh(line, world.world.path("pod"));
  assertEquals(await world.defaults(), ETH0);
  return await routesOfEth0(world);
}

for (const source of ["built-in", "1.9.1"] as const) {
  const needs = need("root", "ip", ...(source === "built-in" ? [] : [RELEASES[source].needs]));

  Deno.test({
    name: `a default route for both families takes the place of those of eth0, and they come back: ${source}`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const before = await clusterPod(world);
      const sandbox = await attach(world, [
        { network: "a" },
        { network: "b", "default-route": ["10.81.0.1", "fd00:81::1"] },
      ]);
      assertEquals(await world.defaults(), ["10.81.0.1 net2", "fd00:81::1 net2"]);
      const kept = await routesOfEth0(world);
      assertStringIncludes(kept, "10.244.0.0/16 via 10.90.0.1");
      assertStringIncludes(kept, "fd00:244::/56 via fd00:90::1");
      assertStringIncludes(kept, "10.96.0.0/12 via 10.90.0.9");
      assertEquals(kept.includes("10.96.0.0/12 via 10.90.0.1"), false);
      assertEquals((await world.podwire.sandboxes.check(sandbox.id)).reason, undefined);
      assertEquals(await world.podwire.sandboxes.stop(sandbox.id).then(() => routesOfEth0(world)), before);
      assertEquals(await world.defaults(), ETH0);
    },
  });

  Deno.test({
    name: `a default route for one family leaves the other one at eth0: ${source}`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const before = await clusterPod(world);
      const sandbox = await attach(world, [{ network: "a", "default-route": ["fd00:80::9"] }]);
      assertEquals(await world.defaults(), ["10.90.0.1 eth0", "fd00:80::9 net1"]);
      const routes = sandbox.networks.flatMap(({ result }) => asResult(result).routes ?? []);
      assertEquals(routes.map(({ dst, gw }) => `${dst} ${gw}`), ["::/0 fd00:80::9"]);
      const kept = await routesOfEth0(world);
      assertStringIncludes(kept, "fd00:244::/56 via fd00:90::1");
      assertEquals(kept.includes("10.244.0.0/16"), false);
      await world.podwire.sandboxes.stop(sandbox.id);
      assertEquals(await routesOfEth0(world), before);
    },
  });

  Deno.test({
    name:
      `without a default route in the annotation all of them stay at eth0, though the network makes some: ${source}`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const before = await clusterPod(world);
      const sandbox = await attach(world, [{ network: "a" }, { network: "b" }]);
      assertEquals(await world.defaults(), ETH0);
      assertEquals(await routesOfEth0(world), before);
      assertEquals((await world.podwire.sandboxes.check(sandbox.id)).reason, undefined);
      // Nothing of podwire's takes over what was never its own.
      await world.podwire.sandboxes.disconnect(sandbox.id, world.name("a"));
      assertEquals(await world.defaults(), ETH0);
      await world.podwire.sandboxes.stop(sandbox.id);
      assertEquals(await routesOfEth0(world), before);
    },
  });

  Deno.test({
    name: `with an empty list the default routes of its network stay, and nothing else moves: ${source}`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const before = await clusterPod(world);
      const sandbox = await attach(world, [{ network: "a", "default-route": [] }, { network: "b" }]);
      assertEquals((await world.defaults()).toSorted(), [
        "10.80.0.1 net1",
        "10.90.0.1 eth0",
        "fd00:80::1 net1",
        "fd00:90::1 eth0",
      ]);
      assertEquals(await routesOfEth0(world), before);
      await world.podwire.sandboxes.stop(sandbox.id);
      assertEquals(await routesOfEth0(world), before);
    },
  });

  Deno.test({
    name: `a default route that the kernel refuses fails the attachment, and all is as before: ${source}`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const before = await clusterPod(world);
      const error = await assertRejects(
        () => attach(world, [{ network: "a", "default-route": ["192.0.2.1"] }]),
        CniError,
      );
      assertStringIncludes(error.message, "the default route for IPv4 could not be made");
      assertEquals(await routesOfEth0(world), before);
      assertEquals(await world.defaults(), ETH0);
    },
  });
}

Deno.test({
  name:
    "a default route that a router advertises is not displaced, as it would come back: the attachment fails and says so",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await RouteWorld.make("built-in");
    await clusterPod(world);
    const pod = world.world.path("pod");
    await world.world.sh("ip -6 route del default dev eth0", pod);
    await world.world.sh("ip -6 route add default via fd00:90::1 dev eth0 proto ra metric 1024", pod);
    const before = await routesOfEth0(world);
    const error = await assertRejects(
      () => attach(world, [{ network: "a", "default-route": ["fd00:80::1"] }]),
      CniError,
    );
    assertEquals(error.kind, "conflict");
    assertStringIncludes(error.message, "a router advertises that of eth0, so it would come back");
    assertEquals(await routesOfEth0(world), before);
  },
});

Deno.test({
  name: "a route of eth0 that another program has put back meanwhile is not made a second time",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await RouteWorld.make("built-in");
    const before = await clusterPod(world);
    const sandbox = await attach(world, [{ network: "a", "default-route": ["10.80.0.1"] }]);
    // Another program puts it back.
    await world.world.sh(
      "ip route add default via 10.90.0.1 dev eth0 metric 100 mtu 1400 proto 17 src 10.90.0.2",
      world.world.path("pod"),
    );
    await world.podwire.sandboxes.stop(sandbox.id);
    assertEquals(await routesOfEth0(world), before);
  },
});
