// Host ports over whole sandboxes: the second sandbox is refused before it has a namespace.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { FailedIndex } from "../../lib/state/failed_index.ts";
import { DEL_REFUSAL, sandboxTest, type SandboxWorld } from "./sandbox_world.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);

/** Adds a network whose plugin publishes ports. */
async function publishing(world: SandboxWorld, name: string) {
  const plugin = await world.network(name);
  const list = { cniVersion: "1.1.0", name, plugins: [{ type: name, capabilities: { portMappings: true } }] };
  await Deno.writeTextFile(`${world.confDir}/${name}.conflist`, JSON.stringify(list));
  return plugin;
}

const port = (hostPort: number, hostIP = "") => ({
  hostIP,
  hostPort,
  containerPort: 80,
  protocol: "tcp" as const,
});
const web = (world: SandboxWorld, id: string, more = {}) => ({
  name: id,
  id: world.id(id),
  networks: [{ name: "a", ifName: "eth0" }, { name: "b", ifName: "eth1" }],
  publish: [port(8080)],
  ...more,
});
const claims = (world: SandboxWorld) =>
  Array.fromAsync(Deno.readDir(`${world.stateDir}/ports`), ({ name }) => name);

sandboxTest(
  "U25 F70 F73 a sandbox whose port is taken is refused before its namespace is made",
  async (world) => {
    await publishing(world, "a");
    await world.network("b");
    const { sandboxes } = world.podwire();
    await sandboxes.run(web(world, "one"));
    const before = [await world.left(), await world.calls()];
    const publish = [port(9090), port(8080, "127.0.0.1")];
    const error = await failing(() => sandboxes.run(web(world, "two", { publish })));
    assertEquals(error.kind, "conflict");
    assertMatch(
      world.plain(error.msg),
      /127\.0\.0\.1:8080\/tcp is taken by container "one" on network "a" \(eth0, attached\)/,
    );
    assertEquals([await world.left(), await world.calls()], before);
    assertEquals(await claims(world), ["tcp-8064-8127.json"]);
    await sandboxes.remove(world.id("one"));
    assertEquals(await claims(world), []);
    await sandboxes.run(web(world, "two"));
  },
);

sandboxTest(
  "F73 the port of a network that was undone, because a later one failed, is free",
  async (world) => {
    await publishing(world, "a");
    const b = await world.network("b", { ADD: { stdout: '{"code": 107, "msg": "no room"}', code: 1 } });
    const { sandboxes } = world.podwire();
    await failing(() => sandboxes.run(web(world, "one")));
    assertEquals({ left: await world.left(), claims: await claims(world) }, { left: [], claims: [] });
    await b.answer("ADD", { stdout: '{"dns": {}}' });
    await sandboxes.run(web(world, "two"));
  },
);

sandboxTest(
  "a sandbox is replaced by one with its port, and stays where another has the port",
  async (world) => {
    await publishing(world, "a");
    await world.network("b");
    const { sandboxes } = world.podwire();
    await sandboxes.run(web(world, "one", { name: "web" }));
    await sandboxes.run(web(world, "other", { publish: [port(9090)] }));
    const two = web(world, "two", { name: "web", replace: true });
    const error = await failing(() => sandboxes.run({ ...two, publish: [port(8080), port(9090)] }));
    assertMatch(world.plain(error.msg), /9090\/tcp is taken by container "other"/);
    assertEquals((await sandboxes.get("web")).id, world.id("one"));
    await sandboxes.run(two);
    assertEquals((await sandboxes.get("web")).id, world.id("two"));
    assertEquals((await claims(world)).sort(), ["tcp-8064-8127.json", "tcp-9088-9151.json"]);
  },
);

sandboxTest(
  "F79 the port of a sandbox that is gone stays taken until its network is detached",
  async (world) => {
    const a = await publishing(world, "a");
    await world.network("b");
    const podwire = world.podwire();
    await podwire.sandboxes.run(web(world, "one"));
    await a.answer("DEL", DEL_REFUSAL);
    assertEquals((await podwire.sandboxes.remove(world.id("one"), { force: true })).length, 1);
    const error = await failing(() => podwire.sandboxes.run(web(world, "two")));
    assertMatch(world.plain(error.msg), /taken by container "one" on network "a" \(eth0, failed\)/);
    assertMatch(error.context.hint ?? "", /podwire recover/);
    const [left] = await podwire.attachments({ failed: true });
    assertEquals({ network: left?.network, attempts: left?.attempts }, { network: "a", attempts: 1 });
    await a.answer("DEL", {});
    await podwire.recover();
    assertEquals(await podwire.attachments({ failed: true }), []);
    await podwire.sandboxes.run(web(world, "two"));
  },
);

sandboxTest("F73 a reboot frees the ports of the last boot before the first set-up", async (world) => {
  await publishing(world, "a");
  await world.network("b");
  await world.podwire().sandboxes.run(web(world, "one"));
  await world.afterRestart().sandboxes.run(web(world, "two"));
  assertEquals((await world.store.all()).map(({ containerId }) => world.plain(containerId)), ["two", "two"]);
  assertEquals(await claims(world), ["tcp-8064-8127.json"]);
});

sandboxTest(
  "recover leaves no claim of what is gone, and the hints that the records call for",
  async (world) => {
    const a = await publishing(world, "a");
    await world.network("b");
    const podwire = world.podwire();
    await podwire.sandboxes.run(web(world, "one"));
    await podwire.sandboxes.run(web(world, "two", { publish: [port(9090)] }));
    const hints = new FailedIndex(world.stateDir);
    // As after crashes: a record that is removed before its claim, hints too many and one too few.
    const [record] = await world.store.ofContainer(world.id("one"));
    await world.forget(record!);
    await hints.add("unknown");
    await hints.add(world.id("one"));
    await a.answer("DEL", DEL_REFUSAL);
    await podwire.sandboxes.remove(world.id("two"), { force: true });
    await hints.remove(world.id("two"));
    const { failed } = await podwire.recover();
    assertEquals(failed.map(({ containerId, network }) => [world.plain(containerId), network]), [[
      "two",
      "a",
    ]]);
    assertEquals({
      claims: await claims(world),
      containers: (await hints.containers()).map((id) => world.plain(id)),
    }, {
      claims: [
        "tcp-9088-9151.json",
      ],
      containers: ["two"],
    });
    await a.answer("DEL", {});
    await podwire.recover();
    assertEquals({ claims: await claims(world), containers: await hints.containers() }, {
      claims: [],
      containers: [],
    });
  },
);
