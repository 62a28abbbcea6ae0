// Failed removals are retried when they are due, by any process, until they succeed.
import { assert, assertEquals, assertLess, assertMatch, assertRejects } from "@std/assert";
import { LONGEST_BACKOFF_MS } from "../../lib/async/backoff.ts";
import { Retrier, type RetrierOptions, type RetryReport } from "../../lib/attachment/retry.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { AttachmentRecord } from "../../lib/state/attachment_store.ts";
import { FailedIndex } from "../../lib/state/failed_index.ts";
import { leaveNote } from "../processes.ts";
import { RecordingPlugin } from "../recording_plugin.ts";
import { until } from "../until.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";
import { putRecord, recordFile } from "../stores.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);
const HOUR = 3_600_000;
const later = (ms: number) => new Date(Date.now() + ms);
const BUSY = { stdout: '{"code": 100, "msg": "busy"}', code: 1 };

/** A world with a plugin whose DEL fails. */
async function stuckWorld(): Promise<NetworkWorld> {
  const world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") }, DEL: BUSY });
  return world;
}

function retrierOf(world: NetworkWorld, more: Partial<RetrierOptions> = {}): Retrier {
  const { store, failed, locks, log, running } = world;
  return new Retrier({ attachments: world.attachments(), store, failed, locks, log, running, ...more });
}

/** Attaches the container to the networks and fails to detach it, while holding its lock as usual. */
async function stuck(world: NetworkWorld, containerId: string, networks = ["web"]): Promise<void> {
  const requests = networks.map((name, index) =>
    [listOf(["a"], { name }), world.request({ containerId, ifName: `eth${index}` })] as const
  );
  await using _lock = await world.locks.containers.hold(containerId);
  for (const [list, request] of requests) await world.attachments().add(list, request);
  for (const [list, request] of requests) await failing(() => world.attachments().del(list, request));
}

const pluginOf = (world: NetworkWorld) => new RecordingPlugin(`${world.plugins.dir}/a`);
const mend = (world: NetworkWorld) => pluginOf(world).answer("DEL", {});
const delsOf = async (world: NetworkWorld) =>
  (await world.plugins.log()).filter((line) => line.startsWith("a DEL"));
const named = (keys: RetryReport["removed"]) =>
  keys.map(({ containerId, network }) => `${containerId} ${network}`).sort();
const hints = (world: NetworkWorld) => world.failed.containers();
const onlyRecord = async (world: NetworkWorld) => (await world.store.all())[0] as AttachmentRecord;

Deno.test("F79 a failed removal is retried when it is due, and not before", async () => {
  await using world = await stuckWorld();
  await stuck(world, "c1");
  const retrier = retrierOf(world);
  const { nextTry, since } = await onlyRecord(world);
  assertEquals((await retrier.nextDue(new Date(since)))?.toISOString(), nextTry);
  assertEquals(await retrier.retryDue({ now: new Date(since) }), { removed: [], failed: [], busy: [] });
  assertEquals((await delsOf(world)).length, 1);
  const again = await retrier.retryDue({ now: new Date(nextTry!) });
  assertEquals({ failed: named(again.failed), msg: again.failed[0]?.error.msg }, {
    failed: ["c1 web"],
    msg: "busy",
  });
  const second = await onlyRecord(world);
  assertEquals({ state: second.state, attempts: second.attempts }, { state: "failed", attempts: 2 });
  assert(Date.parse(second.nextTry!) > Date.parse(nextTry!));
  await mend(world);
  const report = await retrier.retryDue({ now: later(HOUR) });
  assertEquals({ removed: named(report.removed), failed: report.failed }, {
    removed: ["c1 web"],
    failed: [],
  });
  assertEquals({ files: await world.files(), hints: await hints(world), nextDue: await retrier.nextDue() }, {
    files: [],
    hints: [],
    nextDue: undefined,
  });
});

Deno.test("F76 F78 F81 G35 the retry uses configuration, arguments and result of the ADD, the last attachment first", async () => {
  await using world = await stuckWorld();
  const list = listOf([], { plugins: [{ type: "a", capabilities: { mac: true }, colour: "of then" }] });
  const macs = { eth0: "0a:00:00:00:00:01", eth1: "0a:00:00:00:00:02" };
  for (const [ifName, mac] of Object.entries(macs)) {
    const request = world.request({ args: [["A", "1"]], capabilityArgs: { mac }, ifName });
    await world.attachments().add(list, request);
  }
  for (const record of await world.store.all()) await failing(() => world.attachments().remove(record));
  await mend(world);
  await retrierOf(world).retryDue({ now: later(HOUR) });
  const calls = await pluginOf(world).calls();
  const retried = calls.slice(-2).map(({ env, config }) => [
    env.CNI_IFNAME,
    env.CNI_ARGS,
    config.colour,
    config.runtimeConfig.mac,
    config.prevResult.ips[0].address,
  ]);
  const of = (ifName: keyof typeof macs) => [ifName, "A=1", "of then", macs[ifName], "10.1.0.2/24"];
  assertEquals(retried, [of("eth1"), of("eth0")]);
});

Deno.test("the retry of an attachment of another boot passes no namespace", async () => {
  await using world = await stuckWorld();
  await stuck(world, "c1");
  await world.store.write({ ...await onlyRecord(world), bootId: "of-yesterday" });
  await mend(world);
  await retrierOf(world).retryDue({ now: later(HOUR) });
  const calls = await pluginOf(world).calls();
  assertEquals(calls.map(({ verb, env }) => [verb, env.CNI_NETNS]).slice(1), [["DEL", world.netns], [
    "DEL",
    "",
  ]]);
  assertEquals(await world.files(), []);
});

Deno.test("F47 a container with an operation in progress is skipped, the others are not", async () => {
  await using world = await stuckWorld();
  for (const id of ["c1", "c2", "c3"]) await stuck(world, id);
  await mend(world);
  const retrier = retrierOf(world);
  using lock = await world.locks.containers.lock("c2");
  const report = await retrier.retryDue({ now: later(HOUR) });
  assertEquals({ removed: named(report.removed), busy: report.busy }, {
    removed: ["c1 web", "c3 web"],
    busy: ["c2"],
  });
  await lock.remove();
  lock[Symbol.dispose]();
  assertEquals(named((await retrier.retryDue({ now: later(HOUR) })).removed), ["c2 web"]);
  assertEquals(await world.locks.containers.list(), []);
});

Deno.test("F49 F52 a retry waits for the GC of a network, until its signal fires", async () => {
  await using world = await stuckWorld();
  await stuck(world, "c1");
  const gc = await world.locks.networks.exclude("web");
  const reason = await assertRejects(() =>
    retrierOf(world).retryDue({ now: later(HOUR), signal: AbortSignal.timeout(300) })
  );
  assert(reason instanceof DOMException && reason.name === "TimeoutError");
  assertEquals((await onlyRecord(world)).attempts, 1);
  gc[Symbol.dispose]();
  await mend(world);
  assertEquals(named((await retrierOf(world).retryDue({ now: later(HOUR) })).removed), ["c1 web"]);
});

Deno.test("after the clock was set back a removal waits no longer than the longest back-off", async () => {
  await using world = await stuckWorld();
  await stuck(world, "c1");
  const retrier = retrierOf(world);
  const record = await onlyRecord(world);
  const now = new Date();
  for (
    const [ms, isDue] of [[LONGEST_BACKOFF_MS, false], [LONGEST_BACKOFF_MS + 1, true], [
      24 * HOUR,
      true,
    ]] as const
  ) {
    await world.store.write({ ...record, nextTry: new Date(now.getTime() + ms).toISOString() });
    const report = await retrier.retryDue({ now });
    assertEquals(report.failed.length, isDue ? 1 : 0);
  }
  await world.store.write({ ...record, nextTry: "never" });
  assertEquals((await retrier.nextDue(now))?.getTime(), now.getTime());
});

Deno.test("several networks of one container fail and are removed separately, and the hint goes with the last of them", async () => {
  await using world = await stuckWorld();
  const b = await world.plugins.install("b", { ADD: { stdout: resultWith("10.1.0.3/24") }, DEL: BUSY });
  await stuck(world, "c1", ["web"]);
  await world.attachments().add(listOf(["b"], { name: "db" }), world.request({ ifName: "eth1" }));
  await failing(() =>
    world.attachments().del(listOf(["b"], { name: "db" }), world.request({ ifName: "eth1" }))
  );
  await mend(world);
  const retrier = retrierOf(world);
  const first = await retrier.retryDue({ now: later(HOUR) });
  assertEquals({ removed: named(first.removed), failed: named(first.failed), hints: await hints(world) }, {
    removed: ["c1 web"],
    failed: ["c1 db"],
    hints: [
      "c1",
    ],
  });
  await b.answer("DEL", {});
  assertEquals(named((await retrier.retryDue({ now: later(HOUR) })).removed), ["c1 db"]);
  assertEquals(await hints(world), []);
});

Deno.test("a hint is on disk before the record says failed; a hint too many after a crash is removed at the next pass", async () => {
  await using world = await stuckWorld();
  const seen = await world.plugins.install("look", {
    ADD: { stdout: resultWith("10.1.0.2/24") },
    DEL: { ...BUSY, script: `ls ${world.stateDir} >${world.dir}/seen` },
  });
  await world.attachments().add(listOf(["look"]), world.request());
  await failing(() => world.attachments().del(listOf(["look"]), world.request()));
  assertEquals([(await Deno.readTextFile(`${world.dir}/seen`)).includes("failed"), await hints(world)], [
    false,
    ["c1"],
  ]);
  await world.failed.add("gone");
  await world.attachments().add(listOf(["look"]), world.request({ containerId: "well" }));
  await world.failed.add("well");
  const report = await retrierOf(world).retryDue({ now: new Date(0) });
  // Seen from 1970, the next try is further away than any back-off.
  assertEquals({ failed: named(report.failed), hints: await hints(world) }, {
    failed: ["c1 web"],
    hints: ["c1"],
  });
  await seen.answer("DEL", {});
  await world.attachments().remove((await world.store.ofContainer("c1"))[0]!);
  assertEquals(await hints(world), []);
});

Deno.test("a retry that was killed is repeated once its plugins have ended", async () => {
  await using world = await stuckWorld();
  await stuck(world, "c1");
  await world.store.write({ ...await onlyRecord(world), state: "deleting" });
  await mend(world);
  const entry = await leaveNote(`${world.dir}/run`, { subject: "c1", task: "DEL" });
  const report = await retrierOf(world).retryDue();
  assertEquals({ removed: named(report.removed), files: await world.files(), hints: await hints(world) }, {
    removed: ["c1 web"],
    files: [],
    hints: [],
  });
  assert(
    world.host.lines.some((line) => line.includes(entry)),
    "its processes were looked for",
  );
});

Deno.test("a record that cannot be read does not keep others from being retried", async () => {
  await using world = await stuckWorld();
  for (const id of ["c1", "c2"]) await stuck(world, id);
  await putRecord(recordFile(world.stateDir, "c1"), { ifName: "eth0", network: "web" }, "{}");
  await mend(world);
  const report = await retrierOf(world).retryDue({ now: later(HOUR) });
  // The hint stays for the attachment that is not detached yet.
  assertEquals({ removed: named(report.removed), hints: await hints(world) }, {
    removed: ["c2 web"],
    hints: ["c1"],
  });
  assertEquals(new Set(world.bad.map(({ reason }) => reason)).size, 1);
});

Deno.test("many are retried at once, but no more than requested", async () => {
  await using world = await stuckWorld();
  const ids = Array.from({ length: 9 }, (_, index) => `c${index}`);
  for (const id of ids) await stuck(world, id);
  const mark = `${world.dir}/now-$CNI_CONTAINERID`;
  // The first ones wait until as many run as are allowed.
  const all = `${world.dir}/all-there`;
  const script =
    `mkdir ${mark}; until set -- ${world.dir}/now-*; [ $# -ge 3 ] || [ -e ${all} ]; do sleep 0.02; done; ` +
    `: >${all}; sleep 0.2; set -- ${world.dir}/now-*; echo $# >>${world.dir}/at-once; sleep 0.2; rmdir ${mark}`;
  await pluginOf(world).answer("DEL", { script });
  const report = await retrierOf(world).retryDue({ now: later(HOUR), concurrency: 3 });
  assertEquals([report.failed.map(({ error }) => error.message), report.busy], [[], []]);
  assertEquals(named(report.removed), ids.map((id) => `${id} web`));
  const counts = (await Deno.readTextFile(`${world.dir}/at-once`)).trim().split("\n").map(Number);
  assertEquals([counts.length, Math.max(...counts)], [9, 3]);
});

Deno.test("once started it retries by itself, the failures of this process and those of another", async () => {
  await using world = await stuckWorld();
  const retrier = retrierOf(world, { pollMs: 60_000, leastMs: 50 });
  {
    await using _running = retrier;
    retrier.start();
    retrier.start();
    await stuck(world, "c1");
    await mend(world);
    await until(async () => (await world.store.all()).length === 0);
  }
  assertEquals(await hints(world), []);
  assert(world.log.all.includes("info detached at last"), world.log.all.join("\n"));
  // Another index object stands for another process: this one gets no events of it.
  await using elsewhere = retrierOf(world, {
    failed: new FailedIndex(world.stateDir),
    pollMs: 3_600_000,
    leastMs: 50,
  });
  elsewhere.start();
  await pluginOf(world).answer("DEL", BUSY);
  await stuck(world, "c2");
  await mend(world);
  await until(async () => (await world.store.all()).length === 0);
});

Deno.test("a removal that is due but busy is checked at intervals, not all the time", async () => {
  await using world = await stuckWorld();
  await stuck(world, "c1");
  await world.store.write({ ...await onlyRecord(world), nextTry: new Date(0).toISOString() });
  using _lock = await world.locks.containers.lock("c1");
  let looks = 0;
  const failed = new Proxy(world.failed, {
    get(target, key) {
      if (key === "containers") looks++;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  {
    await using retrier = retrierOf(world, { failed, pollMs: 10_000, leastMs: 200 });
    const started = performance.now();
    retrier.start();
    await until(() => looks > 8);
    // Two for each round: for what is due, and for what is next.
    assertLess(looks, 2 * ((performance.now() - started) / 200 + 2));
  }
});

Deno.test("it stops at once while a plugin hangs; the attempt counts and stays on record", async () => {
  await using world = await stuckWorld();
  await stuck(world, "c1");
  await pluginOf(world).answer("DEL", { hang: true });
  let stopped = NaN;
  {
    await using retrier = retrierOf(world, { leastMs: 50 });
    retrier.start();
    await until(async () => (await delsOf(world)).length === 2);
    stopped = performance.now();
  }
  // A DEL has a timeout of a minute.
  assertLess(performance.now() - stopped, 30_000);
  const { state, attempts, error } = await onlyRecord(world);
  assertEquals({ state, attempts, kind: error?.kind }, { state: "failed", attempts: 2, kind: "cancelled" });
  assertMatch(String(error?.msg), /cancelled/);
});
