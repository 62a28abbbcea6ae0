// Containers of the real containerd wait until their pod is attached, or get the reason why it is not.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Containerd, ENGINE, REQUEST_MS } from "../nri/containerd.ts";
import { makeSlowNetwork, NETWORKS, startNri, writePolicy } from "../nri/nri_world.ts";
import { binaryTest, until } from "./binary_world.ts";

const IN_TIME = [`--timeout=ADD=2m`];

binaryTest(
  "a container waits for an ADD that takes far longer than the engine's limit, and the engine stays connected",
  ENGINE,
  async (world) => {
    const { gate } = await makeSlowNetwork(world);
    await Deno.writeTextFile(gate, "");
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    await writePolicy(world, [world.network, "slow"]);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine, IN_TIME);
    const config = engine.pod("web", { [NETWORKS]: `${world.network},slow` });
    const startedAt = performance.now();
    const pod = world.watch(await engine.run(config));
    let refused = 0;
    while (performance.now() - startedAt < 7.5 * REQUEST_MS) {
      const { code, details } = await engine.create(pod, config);
      assertEquals(code, "UNKNOWN", details);
      assertStringIncludes(details, 'podwire: the pod "shop/web" is still attaching, ');
      if (details.includes("1 of 2 networks")) refused++;
    }
    assert(refused > 0, "it never said how many networks are attached");
    await Deno.remove(gate);
    await engine.start(pod, config);
    assertEquals(await engine.links(pod), ["eth0", "net1", "net2"]);
    assertEquals((await nri.call("GET", "/healthz")).status, 200);
    assertStringIncludes((await nri.call("GET", "/metrics")).text, "\npodwire_nri_connections_total 1\n");
    await engine.remove(pod);
    await nri.end();
    assertEquals(await world.json(["attachments"]), []);
  },
);

binaryTest(
  "a pod that may not be attached is refused with the reason when its container is created, and works once it may",
  ENGINE,
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    await writePolicy(world, []);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine);
    const config = engine.pod("web", { [NETWORKS]: world.network });
    const pod = world.watch(await engine.run(config));
    const closed = await engine.create(pod, config);
    assertEquals(closed.code, "UNKNOWN");
    assertStringIncludes(closed.details, 'podwire: the pod "shop/web" is not attached to its networks: ');
    assertStringIncludes(closed.details, `pods of namespace "shop" may not use network "${world.network}"`);
    // The sandbox stays: the next attempt of the engine's client finds another answer.
    await writePolicy(world, [world.network]);
    await engine.start(pod, config);
    assertEquals(await engine.links(pod), ["eth0", "net1"]);
    const wrong = engine.pod("wrong", { [NETWORKS]: "absent" });
    await writePolicy(world, [world.network, "absent"]);
    const other = await engine.run(wrong);
    const missing = await engine.create(other, wrong);
    assertStringIncludes(missing.details, 'podwire: the pod "shop/wrong" is not attached to its networks: ');
    assertStringIncludes(missing.details, '"absent"');
    for (const id of [pod, other]) await engine.remove(id);
    await nri.end();
    assertEquals(await world.json(["attachments"]), []);
  },
);

binaryTest(
  "a pod that ends while it is attached is undone, and its end does not wait for the plugin",
  ENGINE,
  async (world) => {
    const { gate } = await makeSlowNetwork(world);
    await Deno.writeTextFile(gate, "");
    await writePolicy(world, ["slow"]);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine, IN_TIME);
    const config = engine.pod("web", { [NETWORKS]: "slow" });
    const pod = world.watch(await engine.run(config));
    await until("it is attached", async () => (await world.json(["attachments"])).length === 1);
    await engine.remove(pod);
    await until("it is undone", async () => (await world.json(["ps"])).length === 0);
    await Deno.remove(gate);
    await nri.end();
    assertEquals(await world.json(["attachments"]), []);
  },
);

binaryTest(
  "a DEL that fails fails neither stop nor removal of the pod, and stays on record",
  ENGINE,
  async (world) => {
    const { broken } = await makeSlowNetwork(world);
    await writePolicy(world, ["slow"]);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine);
    const config = engine.pod("web", { [NETWORKS]: "slow" });
    const pod = world.watch(await engine.run(config));
    await engine.start(pod, config);
    await Deno.writeTextFile(broken, "");
    await engine.remove(pod);
    const left = async () => await world.json(["attachments"]);
    await until(
      "it is owed",
      async () => (await left()).some(({ state }: { state: string }) => state === "failed"),
    );
    await Deno.remove(broken);
    await world.podwire(["recover"]);
    assertEquals(await left(), []);
    await nri.end();
  },
);
