// A sandbox that gets and loses networks while it is up, on the real kernel.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { need } from "./need.ts";
import { RELEASES } from "./plugins_world.ts";
import { RouteWorld, SOURCES } from "./route_world.ts";
import { DEL_REFUSAL, REFUSAL, sandboxTest } from "./sandbox_world.ts";

const DUAL = {
  a: ["10.80.0.0/24", "fd00:80::/64"],
  b: ["10.81.0.0/24", "fd00:81::/64"],
  c: ["10.82.0.0/24"],
};

for (const source of SOURCES) {
  const needs = need("root", "ip", ...(source === "built-in" ? [] : [RELEASES[source].needs]));

  Deno.test({
    name:
      `U90 a network that is connected leaves the default routes, and takes them when the first is gone: ${source}`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const { podwire: { sandboxes } } = world;
      await world.networks(DUAL);
      await world.run("a");
      const first = ["10.80.0.1 eth0", "fd00:80::1 eth0"];
      assertEquals(await world.defaults(), first);
      const connected = await sandboxes.connect("pod", { name: world.name("b") });
      assertEquals(connected.networks.map(({ ifName }) => ifName), ["eth0", "eth1"]);
      assertEquals(world.marked(connected), ["a"]);
      assertEquals(await world.defaults(), first);
      await sandboxes.connect("pod", { name: world.name("c"), ifName: "net1" });
      assertEquals((await world.interfaces()).map((line) => line.split(" ")[0]).sort(), [
        "eth0",
        "eth1",
        "net1",
      ]);
      assertEquals((await sandboxes.check("pod")).reason, undefined);
      // The first network goes: those of the next one take its place.
      assertEquals(await sandboxes.disconnect("pod", world.name("a")), []);
      assertEquals(await world.defaults(), ["10.81.0.1 eth1", "fd00:81::1 eth1"]);
      assertEquals((await sandboxes.check("pod")).reason, undefined);
      // The last network has IPv4 only.
      assertEquals(await sandboxes.disconnect("pod", world.name("b")), []);
      assertEquals(await world.defaults(), ["10.82.0.1 net1"]);
      // The lowest free name is used again.
      const again = await sandboxes.connect("pod", { name: world.name("b"), defaultRoute: true });
      assertEquals(again.networks.map(({ ifName }) => ifName), ["net1", "eth0"]);
      assertEquals(await world.defaults(), ["10.81.0.1 eth0", "fd00:81::1 eth0"]);
      await world.checkAndRemove(again);
    },
  });

  Deno.test({
    name:
      `a connection whose default route cannot be made leaves the routes and records as they were: ${source}`,
    ...needs,
    fn: async () => {
      await using world = await RouteWorld.make(source);
      const { podwire, podwire: { sandboxes } } = world;
      await world.networks(DUAL);
      const sandbox = await world.run("a");
      const before = { routes: await world.routes(), attachments: await podwire.attachments() };
      const refused = async (defaultRoute: true | string[]) => {
        const connect = () => sandboxes.connect("pod", { name: world.name("b"), defaultRoute });
        const error = await assertRejects(connect, CniError);
        assertEquals({ routes: await world.routes(), attachments: await podwire.attachments() }, before);
        assertEquals(error.context.hint, undefined);
        return error.message;
      };
      assertStringIncludes(
        await refused(["fd00:81::1", "192.0.2.77"]),
        "the default route for IPv4 could not be made",
      );
      // The result of the first network cannot be written.
      const entry = `${world.world.dir}/cache/results/${world.name("a")}-${sandbox.id}-eth0`;
      await Deno.rename(entry, `${entry}.kept`);
      await Deno.mkdir(entry);
      assertStringIncludes(await refused(true), entry);
      await Deno.remove(entry);
      await Deno.rename(`${entry}.kept`, entry);
      assertEquals((await sandboxes.check("pod")).reason, undefined);
      await world.checkAndRemove(sandbox);
    },
  });
}

Deno.test({
  name: "a network is disconnected even if no other one can have its default route, which the error says",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await RouteWorld.make("built-in");
    const { podwire: { sandboxes } } = world;
    await world.networks({ a: ["10.80.0.0/24"], b: ["10.81.0.0/24"] });
    await world.run("a");
    await sandboxes.connect("pod", { name: world.name("b") });
    await world.world.sh("ip addr flush dev eth1", world.world.path("pod"));
    const error = await assertRejects(() => sandboxes.disconnect("pod", world.name("a")), CniError);
    assertStringIncludes(error.message, "the default route for IPv4 could not be made");
    assertEquals(
      error.context.hint,
      `the sandbox is not connected to "${
        world.name("a")
      }" any more, and no other network has its default route`,
    );
    assertEquals((await sandboxes.get("pod")).networks.map(({ ifName }) => ifName), ["eth1"]);
    assertEquals(await world.routes(), "");
  },
});

sandboxTest(
  "a sandbox connects to networks by its rules, and each refusal changes nothing",
  async (world) => {
    for (const name of ["a", "b"]) await world.network(name);
    await world.network("bad", { ADD: REFUSAL });
    const { sandboxes } = world.podwire();
    const id = world.id("web");
    await sandboxes.run({ name: "web", id, networks: [{ name: "a" }] });
    const { networks } = await sandboxes.connect("web", { name: "b" });
    assertEquals(networks.map(({ name, ifName }) => `${name} ${ifName}`), ["a eth0", "b eth1"]);
    const before = await world.left();
    const refused = async (act: () => Promise<unknown>) => {
      const error = await assertRejects(act, CniError);
      assertEquals(await world.left(), before, error.message);
      return `${error.kind}: ${world.plain([error.msg, error.context.details ?? ""].join("; "))}`;
    };
    assertStringIncludes(
      await refused(() => sandboxes.connect("web", { name: "b", ifName: "eth1" })),
      'usage: network "b" requested interface name "eth1" already assigned',
    );
    assertStringIncludes(await refused(() => sandboxes.connect("web", { name: "bad" })), "no room");
    assertStringIncludes(await refused(() => sandboxes.connect("web", { name: "none" })), "not-found: ");
    assertStringIncludes(
      await refused(() => sandboxes.connect("other", { name: "b" })),
      "not-found: no sandbox",
    );
    assertStringIncludes(
      await refused(() => sandboxes.disconnect("web", "bad")),
      'not-found: the sandbox "web" is not connected to "bad"; it is connected to a, b',
    );
    assertStringIncludes(
      await refused(() => sandboxes.disconnect("web", "b", { ifName: "eth7" })),
      'not-found: the sandbox "web" is not connected to "b" on eth7',
    );
    assertEquals(await sandboxes.disconnect("web", "bad", { missingOk: true }), []);
    await sandboxes.stop("web");
    const stopped = await world.left();
    const error = await assertRejects(() => sandboxes.connect("web", { name: "b" }), CniError);
    assertEquals([error.kind, error.msg], ["conflict", 'Cannot connect the sandbox "web": it is stopped']);
    assertEquals(await world.left(), stopped);
    await sandboxes.remove("web");
    assertEquals(await world.left(), []);
  },
);

sandboxTest("a network that cannot be disconnected is reported and stays on record", async (world) => {
  await world.network("a");
  await world.network("b", { DEL: DEL_REFUSAL });
  const { sandboxes } = world.podwire();
  await sandboxes.run({ name: "web", id: world.id("web"), networks: [{ name: "a" }, { name: "b" }] });
  const [failure, ...more] = await sandboxes.disconnect("web", "b");
  assertEquals([failure?.msg, more], ["will not", []]);
  assertEquals((await sandboxes.get("web")).networks.map(({ name }) => name), ["a"]);
  assert((await world.left()).includes("b eth1 failed"));
});

sandboxTest("the host has networks of its own: its sandbox cannot be connected", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  await sandboxes.run({ name: "host", id: world.id("host"), source: { kind: "host" } });
  const error = await assertRejects(() => sandboxes.connect("host", { name: "a" }), CniError);
  assertEquals(error.msg, 'Cannot connect the sandbox "host": it is in the namespace of the host');
});

sandboxTest(
  "a connection that a kill interrupts is undone, and the sandbox stays as it was",
  async (world) => {
    for (const name of ["a", "b"]) await world.network(name);
    const { sandboxes } = world.podwire();
    const id = world.id("web");
    await sandboxes.run({ name: "web", id, networks: [{ name: "a" }] });
    const before = await world.left();
    await sandboxes.connect("web", { name: "b" });
    const [, record] = await world.store.ofContainer(id);
    assert(record !== undefined);
    await world.store.write({ ...record!, state: "adding" });
    await world.leaveLock(id);
    const { removed, failed } = await world.podwire().recover();
    assertEquals({ removed: removed.map(({ network }) => network), failed }, { removed: ["b"], failed: [] });
    assertEquals(await world.left(), before);
    assertEquals((await sandboxes.get("web")).state, "ready");
  },
);

sandboxTest(
  "networks with overlapping subnets are refused together, unless that is allowed",
  async (world) => {
    for (const [name, subnet] of [["a", "10.80.0.0/16"], ["b", "10.80.3.0/24"]] as const) {
      await world.network(name);
      const plugins = [{ type: name, ipam: { type: "host-local", subnet } }];
      const list = { cniVersion: "1.1.0", name, plugins };
      await Deno.writeTextFile(`${world.confDir}/${name}.conflist`, JSON.stringify(list));
    }
    await world.plugins.install("host-local");
    const { sandboxes } = world.podwire();
    const request = (name: string, networks: readonly string[]) => ({
      ...{ name, id: world.id(name) },
      networks: networks.map((name) => ({ name })),
    });
    const words = '10.80.3.0/24 of the network "b" overlaps with 10.80.0.0/16 of the network "a"';
    const error = await assertRejects(() => sandboxes.run(request("one", ["a", "b"])), CniError);
    assertEquals([error.kind, error.msg], ["conflict", words]);
    assertEquals(await world.left(), []);
    await sandboxes.run(request("one", ["a", "a"]));
    const again = await assertRejects(() => sandboxes.connect("one", { name: "b" }), CniError);
    assertEquals([again.kind, again.msg], ["conflict", words]);
    const { networks } = await sandboxes.connect("one", { name: "b" }, { allowOverlap: true });
    assertEquals(networks.length, 3);
    await sandboxes.run({ ...request("two", ["a", "b"]), allowOverlap: true });
  },
);
