// E5: file names have at most 255 bytes. podwire accepts all names that libcni can store. It refuses longer ones before the
// first plugin runs, while libcni fails after the last.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { Locks } from "../../lib/state/locks.ts";
import { listOf, NetworkWorld, resultWith } from "../attachment/world.ts";
import { putRecord, recordFile } from "../stores.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);

/** Returns names of these lengths: network, container, interface. */
function named(lengths: readonly [number, number, number]) {
  const [network = "", containerId = "", ifName = ""] = lengths.map((length, index) =>
    "nci"[index]?.repeat(length)
  );
  return { network, containerId, ifName };
}

Deno.test("E5 an attachment whose names make a file name of 255 bytes is added, checked and deleted", async () => {
  for (const lengths of [[251, 1, 1], [1, 250, 1], [248, 1, 4], [237, 1, 15], [120, 118, 15]] as const) {
    await using world = await NetworkWorld.make();
    const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
    const { network, containerId, ifName } = named(lengths);
    const list = listOf(["a"], { name: network });
    const request = world.request({ containerId, ifName });
    await world.attachments().add(list, request);
    const [record] = await world.store.ofContainer(containerId);
    assertEquals({ network: record?.network, ifName: record?.ifName, state: record?.state }, {
      network,
      ifName,
      state: "attached",
    });
    assertEquals((await failing(() => world.attachments().add(list, request))).kind, "conflict");
    await world.attachments().check(list, request);
    await world.attachments().del(list, request);
    assertEquals((await a.calls()).map(({ verb }) => verb), ["ADD", "CHECK", "DEL"]);
    assertEquals(await world.files(), []);
    using lock = await new Locks(`${world.dir}/run`).containers.lock(containerId);
    await lock.remove();
  }
});

Deno.test("E5 names that are too long for a file name are refused before the first plugin runs, but can be deleted", async () => {
  for (const lengths of [[251, 1, 2], [240, 1, 15], [128, 128, 4], [5000, 1, 1]] as const) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a");
    const { network, containerId, ifName } = named(lengths);
    const list = listOf(["a"], { name: network });
    const request = world.request({ containerId, ifName });
    const error = await failing(() => world.attachments().add(list, request));
    assertMatch(error.msg, /too long/);
    assertEquals({ kind: error.kind, verbs: await world.plugins.verbs(), files: await world.files() }, {
      kind: "usage",
      verbs: [],
      files: [],
    });
    // Another runtime may have run its ADD up to the write of the entry.
    await world.attachments().check(list, request);
    await world.attachments().del(list, request);
    assertEquals({ verbs: await world.plugins.verbs(), all: world.log.all }, {
      verbs: ["a CHECK", "a DEL"],
      all: [],
    });
  }
});

Deno.test("E5 networks that differ after their 200th character have different records", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const names = ["x", "y"].map((end) => `${"n".repeat(230)}${end}`);
  for (const name of names) await world.attachments().add(listOf(["a"], { name }), world.request());
  assertEquals((await world.store.ofContainer("c1")).map(({ network }) => network), names);
  for (const name of names) assertEquals(await world.store.hasNetwork(name), true);
  await putRecord(recordFile(world.stateDir, "c1"), { ifName: "eth0", network: names[0]! }, "{");
  const damaged = await world.store.look({ containerId: "c1", ifName: "eth0", network: names[0]! });
  assertEquals(damaged?.network, names[0]);
  assertEquals(await world.store.ofNetwork(names[0]!), [{
    containerId: "c1",
    ifName: "eth0",
    network: names[0]!,
  }]);
  world.bad.length = 0;
  assertEquals((await world.store.ofContainer("c1")).length, 1);
  assertEquals(world.bad.length, 1);
});

Deno.test("E5 a container ID that leaves no room for the name of its lock is refused as too long", async () => {
  const dir = await Deno.makeTempDir({ prefix: "podwire-locks-" });
  try {
    const locks = new Locks(dir);
    for (
      const act of [
        () => locks.containers.lock("c".repeat(251)),
        () => locks.containers.tryLock("c".repeat(251)),
      ]
    ) {
      const error = await failing(act);
      assertEquals({ kind: error.kind, msg: error.msg }, {
        kind: "usage",
        msg: "the container ID is too long",
      });
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
