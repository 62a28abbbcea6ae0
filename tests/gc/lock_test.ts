// A sweep beside other work: operations in progress, hanging plugins, other sweeps.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { GcRequest } from "../../lib/gc/report.ts";
import { statOf } from "../../lib/host/file.ts";
import { ContainerLocks } from "../../lib/state/container_locks.ts";
import { Locks } from "../../lib/state/locks.ts";
import { listOf, NetworkWorld } from "../attachment/world.ts";
import { until } from "../until.ts";
import { attach, collector, foreign, reportToJson, shown, valid } from "./world.ts";

const locksOf = (world: NetworkWorld) => new Locks(`${world.dir}/run`);

/** Attaches as a sandbox does, with the locks of an operation. */
async function attachLocked(world: NetworkWorld, containerId: string): Promise<void> {
  await using _lock = await locksOf(world).containers.hold(containerId);
  await attach(world, listOf(["a"]), containerId);
}

Deno.test("F49 F50 D66 plugins get GC only when no operation is in progress, and operations wait for it", async () => {
  await using world = await NetworkWorld.make();
  const script = `until [ -e "$here/go" ]; do sleep 0.02; done; : >"$here/done"`;
  await world.plugins.install("a", { GC: { script } });
  const locks = locksOf(world);
  const order: string[] = [];
  const attaching = await locks.networks.share("web");
  const sweep = collector(world).collect([listOf(["a"])]);
  await delay(100);
  assertEquals(await world.plugins.verbs(), []);
  order.push("attached");
  attaching[Symbol.dispose]();
  await until(async () => (await world.plugins.verbs()).length > 0);
  const next = locks.networks.share("web").then(async (lock) => {
    if (await statOf(`${world.plugins.dir}/a.d/done`) !== undefined) order.push("swept");
    order.push("next");
    return lock;
  });
  await delay(100);
  assertEquals(order, ["attached"]);
  await Deno.writeTextFile(`${world.plugins.dir}/a.d/go`, "");
  (await next)[Symbol.dispose]();
  await sweep;
  assertEquals(order, ["attached", "swept", "next"]);
});

Deno.test("F49 a sweep that waits for its lock delays no attaching", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const locks = locksOf(world);
  using _hanging = await locks.networks.share("web");
  const cancel = new AbortController();
  const sweep = collector(world).collect([listOf(["a"])], {}, { signal: cancel.signal });
  await delay(100);
  for (let i = 0; i < 3; i++) {
    using _other = await locks.networks.share("web", AbortSignal.timeout(60_000));
  }
  cancel.abort(new CniError("cancelled", "enough"));
  assertEquals((await assertRejects(() => sweep, CniError) as CniError).msg, "enough");
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("F49 a sweep that does not get its lock in time removes what it can, and reports the networks that it did not reach", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const names = Array.from({ length: 100 }, (_, index) => `n${index + 1}`);
  const lists = names.map((name) => listOf(["a"], { name }));
  await attach(world, lists[0]!, "gone");
  using hanging = new DisposableStack();
  for (const name of names) hanging.use(await locksOf(world).networks.share(name));
  const started = performance.now();
  const report = await collector(world).collect([...lists, listOf(["a"], { name: "free" })], { waitMs: 300 });
  // The limit is for all networks together, not for each.
  assert(performance.now() - started < lists.length * 300 / 2);
  assertEquals(report.removed.map(({ containerId }) => containerId), ["gone"]);
  assertEquals(
    report.failed.map(({ kind, network, plugin, error }) => [kind, network, plugin, error?.kind]),
    names.map((name) => ["plugin", name, undefined, "timeout"]),
  );
  assertMatch(report.failed[0]!.why, /its plugins were not asked to clean up: .*waited 0\.3s/);
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL", "a GC"]);
});

Deno.test("F49 while a plugin hangs in the GC of its network, other networks work, and an ADD to its own waits and logs why", async () => {
  await using world = await NetworkWorld.make();
  const hung = await world.plugins.install("hung", {
    GC: { script: `until [ -e "$here/go" ]; do sleep 0.02; done` },
  });
  await world.plugins.install("a");
  const [slow, fast] = [listOf(["hung"], { name: "slow" }), listOf(["a"], { name: "fast" })];
  const sweep = collector(world).collect([slow]);
  await until(async () => (await hung.calls()).length > 0);
  await attach(world, fast, "c1");
  assertEquals((await collector(world, ["c1"]).collect([fast])).failed, []);
  const locks = new Locks(`${world.dir}/run`, { log: world.log });
  const waiting = world.attachments({}, { locks }).add(slow, world.request({ containerId: "c2" }));
  await until(() => world.log.all.length > 0);
  assertMatch(
    world.log.all[0]!,
    /^warn still waiting for the plugins of network "slow" to clean up \(its gc lock\), held by another operation of this process/,
  );
  await Deno.writeTextFile(`${world.plugins.dir}/hung.d/go`, "");
  await waiting;
  assertEquals((await sweep).failed, []);
  assertEquals((await hung.calls()).map(({ verb }) => verb), ["GC", "ADD"]);
});

Deno.test("F49 a DEL that does not get the gc lock in time names the process that holds it, and is tried again later", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await attach(world, listOf(["a"]), "c1");
  using _gc = await locksOf(world).networks.exclude("web");
  const locks = new Locks(`${world.dir}/run`, { limitMs: 50 });
  const [record] = await world.store.all();
  const error = await assertRejects(
    () => world.attachments({}, { locks }).remove(record!),
    CniError,
  ) as CniError;
  assertEquals(error.kind, "timeout");
  assertMatch(error.msg, /within 0\.05s: it is held by another operation of this process/);
  assertEquals((await world.store.all()).map(({ state, attempts }) => [state, attempts]), [["failed", 1]]);
  assertEquals(await world.failed.containers(), ["c1"]);
});

Deno.test("F49 pods with several networks in any order and sweeps over all networks never deadlock", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const lists = ["n1", "n2", "n3"].map((name) => listOf(["a"], { name }));
  const ids = Array.from({ length: 6 }, (_, index) => `c${index}`);
  const signal = AbortSignal.timeout(120_000);
  const pod = async (id: string, index: number) => {
    await using _lock = await locksOf(world).containers.hold(id, signal);
    const attachments = world.attachments();
    const turned = [...lists.slice(index % 3), ...lists.slice(0, index % 3)];
    for (const list of turned) await attachments.add(list, world.request({ containerId: id }), { signal });
    for (const record of await world.store.ofContainer(id)) await attachments.remove(record, signal);
  };
  const sweeps = [1, 2, 3].map(() => collector(world, ids).collect(lists, {}, { signal }));
  await Promise.all([...ids.map(pod), ...sweeps]);
  assertEquals(await world.store.all(), []);
  assertEquals((await Promise.all(sweeps)).flatMap(({ failed }) => failed), []);
});

Deno.test("sweeps by a timer skip a plugin that did not answer to GC in time, for a period that grows; other sweeps ask it", async () => {
  await using world = await NetworkWorld.make();
  const hung = await world.plugins.install("hung", { GC: { sleep: 60 } });
  const a = await world.plugins.install("a");
  const sweeper = collector(world, [], 3_000);
  const list = listOf(["hung", "a"]);
  const failed = async (request: GcRequest) => (await sweeper.collect([list], request)).failed.length;
  assertEquals(await failed({ skipHung: true }), 1);
  const skipped = await sweeper.collect([list], { skipHung: true });
  assertEquals(skipped.failed, []);
  assertMatch(
    shown(skipped.kept[0]!),
    /^plugin: hung: it did not answer in time .* asked again after \d{4}-/,
  );
  // The other plugins of its chain are asked each time.
  assertEquals([(await hung.calls()).length, (await a.calls()).length], [1, 2]);
  assertEquals(await failed({}), 1);
  await hung.answer("GC", {});
  assertEquals(await failed({}), 0);
  assertEquals(await failed({ skipHung: true }), 0);
  assertEquals((await hung.calls()).length, 4);
});

Deno.test("F49 between two configurations of one network, waiting operations get the lock", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { GC: { sleep: 0.3 } });
  const lists = Array.from(
    { length: 8 },
    (_, index) => listOf([], { plugins: [{ type: "a", note: index }] }),
  );
  const ids = lists.map((_, index) => `c${index}`);
  for (const [index, list] of lists.entries()) await attach(world, list, ids[index]!);
  const gcs = async () => (await a.calls()).filter(({ verb }) => verb === "GC").length;
  const sweep = collector(world, ids).collect([]);
  await until(async () => await gcs() > 0);
  using _lock = await locksOf(world).networks.share("web", AbortSignal.timeout(60_000));
  const asked = await gcs();
  assert(asked < lists.length, `${asked} lists got GC first`);
  _lock[Symbol.dispose]();
  assertEquals((await sweep).failed, []);
  assertEquals(await gcs(), lists.length);
});

Deno.test("D66 what is attached during a sweep is in the list that the plugins of the next network get", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("slow", { GC: { script: `until [ -e "$here/go" ]; do sleep 0.02; done` } });
  const a = await world.plugins.install("a");
  // GC of the first network delays GC of the second one.
  const lists = [listOf(["slow"], { name: "first" }), listOf(["a"])];
  const sweep = collector(world, ["late"]).collect(lists);
  await until(async () => (await world.plugins.verbs()).includes("slow GC"));
  // A runtime that only shares the cache does not wait. podwire waits, and only its record shows the attachment.
  await foreign(world, "theirs");
  world.cache.write = () => Promise.resolve();
  const attaching = attachLocked(world, "late");
  await delay(100);
  await Deno.writeTextFile(`${world.plugins.dir}/slow.d/go`, "");
  await attaching;
  assertEquals((await sweep).failed, []);
  assertEquals(await world.plugins.verbs(), ["slow GC", "a ADD", "a GC"]);
  assertEquals(valid((await a.calls()).at(-1)!.config), ["late:eth0", "theirs:eth0"]);
});

Deno.test("D66 an attachment that is made after the sweep began is kept, because the list cannot contain it", async () => {
  const selections: readonly GcRequest[] = [
    { all: true },
    { valid: [] },
    { pods: { owner: "cli", containerIds: [] } },
  ];
  for (const selection of selections) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a");
    const list = listOf(["a"]);
    const owner = selection.pods === undefined ? "cli" : "pods:cli";
    await attach(world, list, "hand", owner);
    const [record] = await world.store.all();
    // Between the reading and the removal it is detached and attached again.
    const readAll = world.store.scanAll.bind(world.store);
    world.store.scanAll = async () => {
      const records = await readAll();
      await world.store.write({ ...record!, since: "2999-01-01T00:00:00.000Z" });
      return records;
    };
    const report = await collector(world).collect([list], selection);
    assertEquals(reportToJson(report), {
      removed: [],
      kept: ["attachment: hand: it was attached meanwhile"],
      failed: [],
    });
    assertEquals(await world.plugins.verbs(), ["a ADD", "a GC"]);
  }
});

Deno.test("D66 a container on which another process works is kept, and the others are removed", async () => {
  for (const dryRun of [true, false]) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a");
    const list = listOf(["a"]);
    for (const id of ["busy", "free"]) await attach(world, list, id);
    const locks = locksOf(world);
    using _lock = await locks.containers.lock("busy");
    const report = await collector(world).collect([list], { dryRun });
    assertEquals(reportToJson(report), {
      removed: ["attachment: free: its sandbox is gone"],
      kept: ["attachment: busy: an operation on it is under way"],
      failed: [],
    });
    assertEquals(await locks.containers.list(), ["busy"]);
  }
});

Deno.test("D66 an ADD in progress does not count as interrupted, and it delays no removal when it hangs", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  for (const id of ["gone1", "gone2"]) await attach(world, listOf(["a"]), id);
  await a.answer("ADD", { script: `until [ -e "$here/go" ]; do sleep 0.02; done` });
  const pending = attachLocked(world, "new");
  await until(async () => (await world.store.ofContainer("new")).length > 0);
  const report = await collector(world).collect([listOf(["a"])], { waitMs: 100 });
  assertEquals(report.removed.map(({ containerId }) => containerId).sort(), ["gone1", "gone2"]);
  assertEquals(report.kept.map(shown), ["attachment: new: an operation on it is under way"]);
  await Deno.writeTextFile(`${world.plugins.dir}/a.d/go`, "");
  await pending;
  assertEquals((await world.store.all()).map(({ containerId, state }) => [containerId, state]), [
    ["new", "attached"],
  ]);
});

Deno.test("D58 a DEL that hangs does not delay the removal of other containers", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const ids = ["c1", "c2", "c3", "c4", "c5", "c6"];
  for (const id of ids) await attach(world, listOf(["a"]), id);
  // The first DEL hangs until all other containers are gone.
  await a.answer("DEL", { script: `until [ -e "$here/go" ]; do sleep 0.02; done` }, 1);
  const sweep = collector(world).collect([listOf(["a"])]);
  await until(async () => (await world.store.containers()).length === 1);
  await Deno.writeTextFile(`${world.plugins.dir}/a.d/go`, "");
  assertEquals((await sweep).removed.length, ids.length);
});

Deno.test("several sweeps at once remove each attachment once", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { DEL: { sleep: 0.1 } });
  const ids = ["c1", "c2", "c3", "c4", "c5"];
  for (const id of ids) await attach(world, listOf(["a"]), id);
  const reports = await Promise.all([1, 2, 3].map(() => collector(world).collect([listOf(["a"])])));
  const removed = reports.flatMap((report) => report.removed.map(({ containerId }) => containerId));
  assertEquals(removed.sort(), ids);
  assertEquals(reports.flatMap(({ failed }) => failed), []);
  assertEquals((await world.plugins.verbs()).filter((verb) => verb === "a DEL").length, ids.length);
  assertEquals(await locksOf(world).containers.list(), []);
});

Deno.test("the lock file of a killed operation stays for recovery to find", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await attach(world, listOf(["a"]), "gone");
  const dir = `${world.dir}/run/containers`;
  await Deno.mkdir(dir, { recursive: true });
  await Deno.writeTextFile(`${dir}/gone.lock`, "");
  assertEquals((await collector(world).collect([listOf(["a"])])).removed.length, 1);
  assertEquals(await locksOf(world).containers.listAbandoned(), ["gone"]);
});

Deno.test("an attachment whose owner is on record again by the time of its removal is kept", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const list = listOf(["a"]);
  await attach(world, list, "back");
  const present: string[] = [];
  const sweeper = collector(world, present);
  const tryLock = ContainerLocks.prototype.tryLock;
  ContainerLocks.prototype.tryLock = async function (id) {
    present.push("back");
    return await tryLock.call(this, id);
  };
  try {
    const report = await sweeper.collect([list]);
    assertEquals(reportToJson(report).kept, ["attachment: back: its sandbox is there"]);
    assertEquals(await world.plugins.verbs(), ["a ADD", "a GC"]);
  } finally {
    ContainerLocks.prototype.tryLock = tryLock;
  }
});
