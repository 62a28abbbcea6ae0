// Several networks of one pod that each bring a default route, on the real kernel.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { need } from "./need.ts";
import { RELEASES } from "./plugins_world.ts";
import { RouteWorld, SOURCES } from "./route_world.ts";

const V4 = { a: ["10.80.0.0/24"], b: ["10.81.0.0/24"], c: ["10.82.0.0/24"] };
const V6 = { a: ["fd00:80::/64"], b: ["fd00:81::/64"], c: ["fd00:82::/64"] };
const DUAL = {
  a: ["10.80.0.0/24", "fd00:80::/64"],
  b: ["10.81.0.0/24", "fd00:81::/64"],
  c: ["10.82.0.0/24", "fd00:82::/64"],
};

/** The networks, the wanted ones, the default routes then, and which one is marked as the default. */
const CASES: readonly {
  readonly title: string;
  readonly networks: Readonly<Record<string, readonly string[]>>;
  readonly wanted: readonly string[];
  readonly defaults: readonly string[];
  readonly marked: readonly string[];
}[] = [
  {
    title: "of two networks with IPv4 the first has the default route",
    networks: V4,
    wanted: ["a", "b"],
    defaults: ["10.80.0.1 eth0"],
    marked: ["a"],
  },
  {
    title: "of three networks with IPv6 the first has the default route",
    networks: V6,
    wanted: ["c", "b", "a"],
    defaults: ["fd00:82::1 eth0"],
    marked: ["c"],
  },
  {
    title: "of three networks with both families the first has both default routes",
    networks: DUAL,
    wanted: ["a", "b", "c"],
    defaults: ["10.80.0.1 eth0", "fd00:80::1 eth0"],
    marked: ["a"],
  },
  {
    title: "default-route on the second gives it both families",
    networks: DUAL,
    wanted: ["a", "b:net1,default-route", "c"],
    defaults: ["10.81.0.1 net1", "fd00:81::1 net1"],
    marked: ["b"],
  },
  {
    title: "default-route on a network with IPv6 alone leaves IPv4 to the first",
    networks: { a: DUAL.a, b: V6.b },
    wanted: ["a", "b,default-route"],
    defaults: ["10.80.0.1 eth0", "fd00:81::1 eth1"],
    marked: ["a", "b"],
  },
  {
    title: "a network whose default route is of another family keeps it",
    networks: { a: V4.a, b: V6.b },
    wanted: ["a", "b"],
    defaults: ["10.80.0.1 eth0", "fd00:81::1 eth1"],
    marked: ["a", "b"],
  },
  {
    title: "a gateway is the default route of its family, the other stays",
    networks: DUAL,
    wanted: ["a", "b,default-route=10.81.0.9"],
    defaults: ["10.81.0.9 eth1", "fd00:80::1 eth0"],
    marked: ["a", "b"],
  },
  {
    title: "each family can go through a gateway of another network",
    networks: DUAL,
    wanted: ["a", "b,default-route=10.81.0.9", "c,default-route=fd00:82:0::9"],
    defaults: ["10.81.0.9 eth1", "fd00:82::9 eth2"],
    marked: ["b", "c"],
  },
  {
    title: "one network alone can be given other gateways",
    networks: DUAL,
    wanted: ["a,default-route=10.80.0.9,default-route=fd00:80::9"],
    defaults: ["10.80.0.9 eth0", "fd00:80::9 eth0"],
    marked: ["a"],
  },
];

for (const source of SOURCES) {
  const needs = need("root", "ip", ...(source === "built-in" ? [] : [RELEASES[source].needs]));
  for (const { title, networks, wanted, defaults, marked } of CASES) {
    Deno.test({
      name: `${title} (${source})`,
      ...needs,
      fn: async () => {
        await using world = await RouteWorld.make(source);
        await world.networks(networks);
        const sandbox = await world.run(...wanted);
        assertEquals(await world.defaults(), defaults);
        assertEquals(world.marked(sandbox), marked);
        await world.checkAndRemove(sandbox);
      },
    });
  }

  Deno.test({
    name: `a network without a default route gets one through its gateway by default-route (${source})`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      await world.networks({ a: DUAL.a });
      await world.networks({ b: V4.b }, { isDefaultGateway: false, isGateway: true });
      const sandbox = await world.run("a", "b,default-route");
      assertEquals(await world.defaults(), ["10.81.0.1 eth1", "fd00:80::1 eth0"]);
      await world.checkAndRemove(sandbox);
    },
  });

  Deno.test({
    name: `a default route that cannot be made undoes the pod (${source})`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      await world.networks(DUAL);
      const error = await assertRejects(() => world.run("a", "b,default-route=192.0.2.77"), CniError);
      assertEquals({ kind: error.kind, network: error.context.network }, {
        kind: "io",
        network: world.name("b"),
      });
      assertStringIncludes(error.message, "the default route for IPv4 could not be made");
      assertEquals({ attachments: await world.podwire.attachments(), defaults: await world.defaults() }, {
        attachments: [],
        defaults: [],
      });
      assertEquals([...(await world.world.links(world.world.path("pod"))).keys()], ["lo"]);
    },
  });

  Deno.test({
    name: `a default route that existed before stays as it was (${source})`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const pod = world.world.path("pod");
      await world.networks(DUAL);
      await world.world.sh(
        `ip link add own0 type veth peer name own1 && ip link set own1 up && ip addr add 10.9.0.2/24 dev own0 && ip addr add fd00:9::2/64 dev own0 nodad &&
        ip link set own0 up && ip route add default via 10.9.0.1 metric 7 && ip route add default via fd00:9::1 &&
        ip route add default via 10.9.0.1`,
        pod,
      );
      const before = await world.defaults();
      const sandbox = await world.run("a:eth0", "b,default-route");
      const now = await world.defaults();
      assertEquals(now.filter((route) => !route.includes("own0")), ["10.81.0.1 eth1", "fd00:81::1 eth1"]);
      assertEquals(now.filter((route) => route.includes("own0")), before);
      await world.podwire.sandboxes.remove(sandbox.id);
      assertEquals(await world.defaults(), before);
    },
  });

  Deno.test({
    name:
      `U83 two networks that both want to be the default of one family are refused before anything runs (${source})`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      await world.networks(DUAL);
      for (
        const [first, second] of [
          ["a,default-route", "b,default-route"],
          ["a,default-route", "b,default-route=fd00:81::1"],
          ["a,default-route=10.80.0.1", "b,default-route=10.81.0.1"],
        ] as const
      ) {
        const error = await assertRejects(() => world.run(first, second), CniError);
        assertEquals(error.kind, "usage");
        assert(error.message.includes(`"${world.name("a")}" and "${world.name("b")}"`), error.message);
      }
      assertEquals(await world.podwire.attachments(), []);
    },
  });
}
