// podwire and the real containerd end at each step of the life of pods, and nothing is lost.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Containerd, ENGINE } from "../nri/containerd.ts";
import { makeSlowNetwork, NETWORKS, startNri, writePolicy } from "../nri/nri_world.ts";
import { binaryTest, type BinaryWorld, until } from "./binary_world.ts";
import type { DaemonProcess } from "./daemon_world.ts";

async function kill(nri: DaemonProcess): Promise<void> {
  nri.child.kill("SIGKILL");
  await nri.child.status;
}

const sandboxIds = async (world: BinaryWorld) =>
  (await world.json(["ps"])).map(({ id }: { id: string }) => id).toSorted();

binaryTest(
  "podwire is killed at each step of a pod: it is attached once, and detached when it has ended",
  ENGINE,
  async (world) => {
    const { gate } = await makeSlowNetwork(world);
    await writePolicy(world, ["slow"]);
    await using engine = await Containerd.open(world);
    const pod = (name: string) => engine.pod(name, { [NETWORKS]: "slow" });
    const [before, during, after] = [pod("before"), pod("during"), pod("after")];
    // It starts while podwire is not there, and has a container by then.
    const first = world.watch(await engine.run(before));
    await engine.start(first, before);
    assertEquals(await engine.links(first), ["eth0"]);
    let nri = await startNri(world, engine);
    await until("it is attached late", async () => (await engine.links(first)).includes("net1"));
    // Killed while a plugin runs.
    await Deno.writeTextFile(gate, "");
    const second = world.watch(await engine.run(during));
    await until("it is begun", async () => (await world.json(["attachments"])).length === 2);
    await kill(nri);
    await Deno.remove(gate);
    nri = await startNri(world, engine);
    await engine.start(second, during);
    assertEquals(await engine.links(second), ["eth0", "net1"]);
    // Killed while all is attached: nothing is attached again.
    const attached = await world.json(["attachments"]);
    await kill(nri);
    nri = await startNri(world, engine);
    const third = world.watch(await engine.run(after));
    await engine.start(third, after);
    const since = (all: readonly { readonly containerId: string; readonly since: string }[]) =>
      all.filter(({ containerId }) => containerId !== third).map(({ containerId, since }) => ({
        containerId,
        since,
      }));
    assertEquals(since(await world.json(["attachments"])), since(attached));
    // Killed, and two pods end meanwhile.
    await kill(nri);
    await engine.remove(first);
    await engine.remove(second);
    assertEquals((await sandboxIds(world)).length, 3);
    nri = await startNri(world, engine);
    await until("what is gone is detached", async () => (await sandboxIds(world)).length === 1);
    assertEquals(await sandboxIds(world), [third]);
    await engine.remove(third);
    await nri.end();
    assertEquals(await world.json(["attachments"]), []);
  },
);

binaryTest(
  "containerd is killed and started again: podwire registers again, and no pod is attached twice or lost",
  ENGINE,
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    await writePolicy(world, [world.network]);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine);
    const health = async () => (await nri.call("GET", "/healthz")).status;
    const config = engine.pod("web", { [NETWORKS]: world.network });
    const pod = world.watch(await engine.run(config));
    await engine.start(pod, config);
    const attached = await world.json(["attachments"]);
    await engine.stop();
    await until("it knows that it is not connected", async () => await health() === 503);
    assertStringIncludes((await nri.call("GET", "/metrics")).text, "\npodwire_nri_connected 0\n");
    await engine.startProcess();
    await until("it is connected again", async () => await health() === 200);
    assertEquals(await world.json(["attachments"]), attached);
    assertEquals(await engine.links(pod), ["eth0", "net1"]);
    const next = engine.pod("next", { [NETWORKS]: world.network });
    const other = world.watch(await engine.run(next));
    await engine.start(other, next);
    // Both at once.
    await kill(nri);
    await engine.stop();
    await engine.startProcess();
    await using again = await startNri(world, engine);
    assertEquals((await sandboxIds(world)).length, 2);
    // The engine says nothing of the end of pods that it had before it was started again.
    for (const id of [pod, other]) await engine.remove(id);
    await until("both are detached", async () => (await world.json(["ps"])).length === 0);
    await again.end();
    assertEquals(await world.json(["attachments"]), []);
  },
);

binaryTest("a second one on the node says so and leaves", ENGINE, async (world) => {
  await writePolicy(world, []);
  await using engine = await Containerd.open(world);
  await using _nri = await startNri(world, engine);
  const args = [`--policy=${world.dir}/nri.json`, `--http-socket=${world.dir}/run/other.sock`];
  const { msg } = await world.refused(1, ["nri", ...args, `--socket=${engine.nriSocket}`]);
  assertStringIncludes(msg, "another `podwire nri` serves this node: it works in ");
});

binaryTest(
  "a pod whose sandbox is made again gets its own attachment, and the first one is released",
  ENGINE,
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    await writePolicy(world, [world.network]);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine);
    const [one, two] = [0, 1].map((attempt) => engine.pod("web", { [NETWORKS]: world.network }, attempt));
    if (one === undefined || two === undefined) throw new Error("two attempts are needed");
    const first = world.watch(await engine.run(one));
    await engine.start(first, one);
    const second = world.watch(await engine.run(two));
    await engine.start(second, two);
    assertEquals(await sandboxIds(world), [first, second].toSorted());
    await engine.remove(first);
    assertEquals(await sandboxIds(world), [second]);
    assertEquals(await engine.links(second), ["eth0", "net1"]);
    await engine.remove(second);
    await nri.end();
  },
);
