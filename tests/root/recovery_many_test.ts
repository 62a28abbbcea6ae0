// Recovery of many at once, by several at once, and after a restart of the machine.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { sandboxTest, type SandboxWorld, until } from "./sandbox_world.ts";

/** Sandboxes of which each was killed at another moment of its life. */
async function interrupted(world: SandboxWorld, count: number): Promise<readonly string[]> {
  const { sandboxes } = world.podwire();
  const ids = Array.from({ length: count }, (_, index) => world.id(`c${String(index).padStart(2, "0")}`));
  const queue = ids.values();
  await Promise.all([1, 2, 3, 4].map(async () => {
    for (const id of queue) await sandboxes.run({ name: id, id });
  }));
  const ends = [["creating", "adding"], ["stopping", "deleting"], ["removing"], [
    "removing",
    "failed",
  ]] as const;
  for (const [index, id] of ids.entries()) {
    const [phase, state] = ends[index % ends.length]!;
    await world.interrupt(id, phase, state);
  }
  return ids;
}

const dels = async (world: SandboxWorld) =>
  (await world.calls()).filter((call) => call.includes(" DEL ")).map((call) => call.split(" ")[2]).sort();

sandboxTest("recovery of forty interrupted sandboxes, eight at a time, with progress", async (world) => {
  // Each DEL records how many run at that moment.
  await world.network("a", {
    DEL: {
      script:
        `: >"$here/now.$$"; ls "$here" | grep -c '^now\\.' >>"$here/most"; sleep 0.3; rm "$here/now.$$"`,
    },
  });
  const ids = await interrupted(world, 40);
  const seen: string[] = [];
  const counts: (readonly [number, number])[] = [];
  const { removed, kept, failed } = await world.podwire().recover({
    onProgress: ({ done, total, item }) => {
      seen.push(item);
      counts.push([done, total]);
    },
  });
  assertEquals({ kept: kept.filter(({ kind }) => kind === "attachment"), failed }, { kept: [], failed: [] });
  assertEquals(removed.filter(({ kind }) => kind === "attachment").length, ids.length);
  assertEquals(seen.toSorted(), [...ids]);
  assertEquals(counts, ids.map((_, index) => [index + 1, ids.length]));
  assertEquals(await dels(world), ids.map((id) => world.plain(id)));
  const most = Math.max(
    ...(await Deno.readTextFile(`${world.plugins.dir}/a.d/most`)).trim().split("\n").map(Number),
  );
  assert(most > 1 && most <= 8, `${most} at once`);
  assertEquals(await world.namespaces(), []);
  assertEquals(await world.locks.containers.list(), []);
  // Those that were being stopped are stopped; a second recovery has nothing to do.
  const again = await world.podwire().recover();
  assertEquals({ removed: again.removed, failed: again.failed }, { removed: [], failed: [] });
  assertEquals(new Set(again.kept.map(({ why }) => why)), new Set(["it is stopped"]));
  assertEquals((await dels(world)).length, ids.length);
});

sandboxTest("two recoveries at once share the work: each DEL runs once", async (world) => {
  await world.network("a", { DEL: { sleep: 0.2 } });
  const ids = await interrupted(world, 16);
  const reports = await Promise.all([1, 2].map(() => world.podwire().recover({ concurrency: 4 })));
  assertEquals(await dels(world), ids.map((id) => world.plain(id)));
  const shares = reports.map(({ removed }) => removed.filter(({ kind }) => kind === "attachment").length);
  assertEquals(shares.reduce((sum, share) => sum + share), ids.length);
  assert(shares.every((share) => share > 0), shares.join(" and "));
  assertEquals(reports.flatMap(({ failed }) => failed), []);
  for (const { kept } of reports) {
    for (const { why } of kept) {
      assert(["an operation on it is under way", "it is stopped"].includes(why), why);
    }
  }
});

sandboxTest("a DEL that hangs delays only its own container", async (world) => {
  const a = await world.network("a");
  const ids = await interrupted(world, 12);
  await a.answer("DEL", { script: `until [ -e "$here/go" ]; do sleep 0.02; done` }, 1);
  const seen: string[] = [];
  const recovery = world.podwire().recover({ concurrency: 2, onProgress: ({ item }) => seen.push(item) });
  await until(() => Promise.resolve(seen.length === ids.length - 1));
  await Deno.writeTextFile(`${world.plugins.dir}/a.d/go`, "");
  assertEquals((await recovery).failed, []);
  assertEquals(seen.length, ids.length);
});

/**
 * Sandboxes as they were before the machine was restarted: their namespaces are gone, their records are not.
 */
async function beforeRestart(world: SandboxWorld, count: number): Promise<readonly string[]> {
  const { sandboxes } = world.podwire();
  const ids = Array.from({ length: count }, (_, index) => world.id(`c${index}`));
  for (const id of ids) {
    const { netns } = await sandboxes.run({ name: id, id });
    await world.sh('umount "$1" && rm "$1"', netns);
  }
  return ids;
}

sandboxTest(
  "after a restart everything is torn down before the first ADD, once, whichever process comes first and however many come",
  async (world) => {
    const a = await world.network("a", { DEL: { sleep: 0.2 } });
    const ids = await beforeRestart(world, 6);
    // Another configuration of the same network by now: the one on record counts.
    await Deno.remove(`${world.confDir}/a.conflist`);
    await world.network("b");
    const networks = [{ name: "b" }];
    const runs = ["n1", "n2", "n3", "n4"].map((name) =>
      world.afterRestart().sandboxes.run({ name, id: world.id(name), networks })
    );
    assertEquals((await Promise.all(runs)).map(({ state }) => state), ["ready", "ready", "ready", "ready"]);
    assertEquals(await dels(world), ids.map((id) => world.plain(id)));
    const verbs = await world.plugins.verbs();
    assert(verbs.lastIndexOf("a DEL") < verbs.indexOf("b ADD"), verbs.join(", "));
    const calls = (await a.calls()).filter(({ verb }) => verb === "DEL");
    assertEquals(new Set(calls.map(({ env }) => env.CNI_NETNS)), new Set([""]));
    assertEquals(calls.every(({ config }) => config.prevResult.ips[0].address === "10.1.0.2/24"), true);
    // Not twice, by no process.
    await world.afterRestart().sandboxes.run({ name: "later", networks });
    assertEquals((await dels(world)).length, ids.length);
  },
);

sandboxTest("a wait for the tear-down of another boot ends with its own signal", async (world) => {
  const a = await world.network("a");
  await beforeRestart(world, 2);
  await a.answer("DEL", { script: `until [ -e "$here/go" ]; do sleep 0.02; done` });
  const first = world.afterRestart().sandboxes.run({
    name: "first",
  });
  await until(async () => (await world.plugins.verbs()).includes("a DEL"));
  const cut = new AbortController();
  const second = world.afterRestart().sandboxes.run({ name: "second" }, { signal: cut.signal });
  const refused = assertRejects(() => second, CniError, "enough");
  cut.abort(new CniError("cancelled", "enough"));
  await refused;
  assertEquals((await world.plugins.verbs()).includes("b ADD"), false);
  await Deno.writeTextFile(`${world.plugins.dir}/a.d/go`, "");
  assertEquals((await first).state, "ready");
});

sandboxTest("a tear-down of another boot that is cancelled goes on with the next ADD", async (world) => {
  const a = await world.network("a");
  const ids = await beforeRestart(world, 3);
  await a.answer("DEL", { hang: true });
  const cut = new AbortController();
  const first = world.afterRestart().sandboxes.run({ name: "first" }, { signal: cut.signal });
  const refused = assertRejects(() => first, CniError);
  await until(async () => (await world.plugins.verbs()).includes("a DEL"));
  cut.abort();
  await refused;
  await a.answer("DEL", {});
  assertEquals((await world.afterRestart().sandboxes.run({ name: "second" })).state, "ready");
  for (const id of ids) assertEquals(await world.store.ofContainer(id), []);
});

sandboxTest("records of this boot are left alone whatever boot was noted last", async (world) => {
  await world.network("a");
  await world.podwire().sandboxes.run({ name: "web", id: world.id("c1") });
  await Deno.writeTextFile(`${world.stateDir}/boot-id`, "a-boot-long-ago");
  await world.podwire().sandboxes.run({ name: "db", id: world.id("c2") });
  assertEquals(await world.calls(), ["a ADD c1 eth0", "a ADD c2 eth0"]);
  assertEquals((await world.podwire().sandboxes.list()).map(({ state }) => state), ["ready", "ready"]);
});

sandboxTest("recovery after a restart saves the next ADD the tear-down", async (world) => {
  await world.network("a");
  const ids = await beforeRestart(world, 3);
  const { failed } = await world.afterRestart().recover();
  assertEquals({ failed, dels: await dels(world) }, { failed: [], dels: ids.map((id) => world.plain(id)) });
  assertEquals(await Deno.readTextFile(`${world.stateDir}/boot-id`), "another-boot");
});

sandboxTest(
  "if the boot cannot be noted, a warning says so and the tear-down is not repeated",
  async (world) => {
    await world.network("a");
    const [id = ""] = await beforeRestart(world, 1);
    const podwire = world.afterRestart();
    const stop = await blockBootId(world);
    await podwire.sandboxes.run({ name: "n1" });
    await podwire.sandboxes.run({ name: "n2" });
    assertEquals(await dels(world), [world.plain(id)]);
    const warnings = world.log.all.filter((line) => line.startsWith("warn a record cannot be written"));
    assertEquals(warnings.length, 1, warnings.join("\n"));
    await stop();
  },
);

/** A mount that nothing can replace, read as an empty file. */
async function blockBootId(world: SandboxWorld): Promise<() => Promise<void>> {
  const file = `${world.stateDir}/boot-id`;
  await Deno.writeTextFile(file, "");
  await world.sh('mount --bind "$1" "$1"', file);
  return async () => void await world.sh('umount "$1"', file);
}

sandboxTest("a run reads operations in progress and not all records", async (world) => {
  await world.network("a");
  const podwire = world.podwire();
  await podwire.sandboxes.run({ name: "web", id: world.id("c1") });
  const reads: string[] = [];
  const { readDir, readDirSync } = Deno;
  const note = (path: string | URL) => void reads.push(String(path).replace(world.dir, ""));
  Deno.readDir = (path) => (note(path), readDir(path));
  Deno.readDirSync = (path) => (note(path), readDirSync(path));
  try {
    using _other = await world.locks.containers.lock(world.id("busy"));
    await podwire.sandboxes.run({ name: "db", id: world.id("c2") });
  } finally {
    Object.assign(Deno, { readDir, readDirSync });
  }
  for (const dir of ["/state/records", "/cache/results", "/netns"]) {
    assertEquals(reads.includes(dir), false, `${dir}: ${reads.join(", ")}`);
  }
  assertStringIncludes(reads.join(" "), "/run/containers");
});

sandboxTest(
  "after a restart a pod of an engine leaves no record, and a sandbox stays as stopped",
  async (world) => {
    await world.network("a");
    const [pod = "", sandbox = ""] = await beforeRestart(world, 2);
    const record = await world.sandboxes.read(pod);
    await world.sandboxes.write({ ...record!, owner: "pods:mine" });
    const [attachment] = await world.store.ofContainer(pod);
    await world.store.write({ ...attachment!, owner: "pods:mine" });
    assertEquals((await world.afterRestart().recover()).failed, []);
    assertEquals(await dels(world), [pod, sandbox].map((id) => world.plain(id)));
    assertEquals({
      read: await world.sandboxes.read(pod),
      phase: (await world.sandboxes.read(sandbox))?.phase,
    }, { read: undefined, phase: "stopped" });
  },
);
