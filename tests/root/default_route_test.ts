// Several networks of one pod that each bring a default route, on the real kernel.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { sandboxRequest } from "../../lib/cli/run.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { runCommand } from "../../lib/host/command.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { inputOf } from "../cli/fake_io.ts";
import { need } from "./need.ts";
import { PluginWorld, type Release, RELEASES } from "./plugins_world.ts";

/** Which release's bridge and host-local it is. */
const SOURCES = ["built-in", "1.1.1", "1.9.1"] as const;
type Source = typeof SOURCES[number];

class RouteWorld implements AsyncDisposable {
  readonly podwire: Podwire;

  private constructor(readonly world: PluginWorld, source: Source) {
    const { dir, confDir } = world;
    // The bridges are made in the node's namespace by the reference plugins, and by the built-ins too.
    const dirs = { confDir, cacheDir: `${dir}/cache`, stateDir: `${dir}/state`, netnsDir: `${dir}/netns` };
    this.podwire = source === "built-in"
      ? new Podwire({ ...dirs, pluginDirs: [`${dir}/none`], builtinPolicy: "prefer" })
      : world.podwire;
  }

  static async make(source: Source): Promise<RouteWorld> {
    const release: Release = source === "built-in" ? "1.9.1" : source;
    return new RouteWorld(await PluginWorld.make(release, "pod"), source);
  }

  /** Networks `a`, `b` and so on, with these subnets; the gateway is the first address of each. */
  async networks(all: Readonly<Record<string, readonly string[]>>, more: JsonObject = {}): Promise<void> {
    const { world } = this;
    for (const [letter, subnets] of Object.entries(all)) {
      const ranges = subnets.map((subnet) => [{ subnet }]);
      const plugin = {
        type: "bridge",
        bridge: `${world.bridge}${letter}`,
        isDefaultGateway: true,
        ipam: { type: "host-local", dataDir: world.ipamDir, ranges },
        ...more,
      };
      await world.network("1.0.0", [plugin], letter);
    }
  }

  name(letter: string): string {
    return `${letter}-${this.world.tag}`;
  }

  /** Makes a sandbox of networks, each as `LETTER[:IFNAME][,KEY=VALUE]`. */
  async run(...networks: string[]): Promise<Sandbox> {
    const flags = networks.map((text) => `--network=${text.replace(/^\w+/, (letter) => this.name(letter))}`);
    const request = sandboxRequest(inputOf("run", ["pod", `--netns=${this.world.path("pod")}`, ...flags]));
    return await this.podwire.sandboxes.run({ ...request, id: this.world.base("pod") });
  }

  /** The default routes of the pod's main table, as `GATEWAY INTERFACE`. */
  async defaults(): Promise<string[]> {
    const pod = this.world.path("pod");
    const shown = [
      ...await this.world.json("ip -j -4 route show default", pod),
      ...await this.world.json("ip -j -6 route show default", pod),
    ];
    return shown.flatMap(({ nexthops, ...route }) => nexthops ?? [route]).map(({ gateway, dev }) =>
      `${gateway} ${dev}`
    );
  }

  /** The networks that are marked as the default. */
  marked({ networks }: Sandbox): string[] {
    return networks.filter((network) => network.default).map(({ name }) => name.split("-")[0] ?? "");
  }

  /** CHECK of each network must succeed, and a tear-down leaves nothing. */
  async checkAndRemove(sandbox: Sandbox): Promise<void> {
    const { podwire, world } = this;
    const { removed, failed } = await podwire.recover();
    assertEquals({ removed, failed }, { removed: [], failed: [] });
    for (const { name, ifName } of sandbox.networks) {
      const [record] = await podwire.attachments({ network: name });
      await podwire.check(name, world.request("pod", { ifName, args: record?.cniArgs ?? [] }));
    }
    await podwire.sandboxes.remove("pod");
    assertEquals({ attachments: await podwire.attachments(), defaults: await this.defaults() }, {
      attachments: [],
      defaults: [],
    });
    assertEquals([...(await world.links(world.path("pod"))).keys()], ["lo"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { world } = this;
    await this.podwire.sandboxes.remove("pod", { force: true }).catch(() => {});
    for (const letter of ["a", "b", "c"]) {
      await runCommand({ program: "ip", args: ["link", "delete", "dev", `${world.bridge}${letter}`] });
    }
    await world[Symbol.asyncDispose]();
  }
}

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
      `two networks that both want to be the default of one family are refused before anything runs (${source})`,
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
