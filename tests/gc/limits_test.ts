// Sweeps in which something is unreadable, slow, locked or cancelled.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, NetworkWorld } from "../attachment/world.ts";
import { FileCalls } from "../file_calls.ts";
import { leaveNote } from "../processes.ts";
import { attach, collector, foreign, shown, valid } from "./world.ts";
import { putRecord, recordFile } from "../stores.ts";

Deno.test("D63 an unreadable cache is reported; removals go on, and no plugin is asked to release what may be in use", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const list = listOf(["a"]);
  await attach(world, list, "gone");
  await Deno.remove(`${world.cacheDir}/results`, { recursive: true });
  await Deno.mkdir(`${world.cacheDir}`, { recursive: true });
  await Deno.writeTextFile(`${world.cacheDir}/results`, "no folder");
  const report = await collector(world).collect([list]);
  const cache = report.failed.find(({ kind }) => kind === "cache");
  assertEquals(cache?.file, `${world.cacheDir}/results`);
  assertMatch(cache?.why ?? "", /cannot be read: .*the plugins were not asked/);
  assertEquals((await world.plugins.verbs()).slice(1), ["a DEL"]);
});

Deno.test("E31 E35 an unreadable file of the cache counts as every attachment that its name can stand for", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const results = `${world.cacheDir}/results`;
  await foreign(world, "other");
  await Deno.writeTextFile(`${results}/web-torn-eth0`, "");
  await Deno.writeTextFile(
    `${results}/web-old-1-eth0`,
    '{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24"}}',
  );
  await Deno.writeTextFile(`${results}/db-torn-eth0`, "{");
  const report = await collector(world).collect([listOf(["a"])]);
  assertEquals(valid((await a.calls())[0]!.config), [
    "old-1:eth0",
    "old:1-eth0",
    "other:eth0",
    "torn:eth0",
  ]);
  const files = report.kept.flatMap(({ file }) => file === undefined ? [] : [file.slice(results.length + 1)]);
  assertEquals(files, ["db-torn-eth0", "web-old-1-eth0", "web-torn-eth0"]);
  const one = await collector(world).collect([listOf(["a"])], { network: "web" });
  assertEquals(one.kept.filter(({ kind }) => kind === "cache").length, 2);
  assertEquals((await world.files()).length, 4, "nothing of another runtime is removed");
});

Deno.test("D64 a record whose configuration cannot be read is reported, and the others are swept", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const list = listOf(["a"]);
  for (const id of ["bad", "good"]) await attach(world, list, id);
  const [bad] = await world.store.ofContainer("bad");
  await world.store.write({ ...bad!, config: "{" });
  const report = await collector(world).collect([list]);
  assertEquals([
    report.removed.length,
    report.failed.map(({ containerId, error }) => [containerId, error?.kind]),
  ], [
    1,
    [["bad", "config"]],
  ]);
  assertEquals(valid((await a.calls()).at(-1)!.config), ["bad:eth0"]);
});

Deno.test("D65 each entry of the cache is read once, even if there are many networks", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  for (const id of ["x1", "x2"]) await foreign(world, id, "n1");
  const lists = ["n1", "n2", "n3"].map((name) => listOf(["a"], { name }));
  const listing = world.cache.list.bind(world.cache);
  let listings = 0;
  world.cache.list = (earlier) => (listings++, listing(earlier));
  world.cache.has = () => Promise.resolve(true);
  using calls = new FileCalls();
  await collector(world).collect(lists);
  assertEquals([listings, (await world.plugins.verbs()).length], [4, 3]);
  const reads = calls.opened.filter((path) => path.startsWith(`${world.cacheDir}/results/`));
  assertEquals(reads.length, 2, reads.join(", "));
});

Deno.test("what an interrupted ADD left is removed, also if it was made by hand", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const list = listOf(["a"]);
  await attach(world, list, "hand", "cli");
  const [record] = await world.store.all();
  await world.store.write({ ...record!, state: "adding" });
  const entry = await leaveNote(`${world.dir}/run`, { subject: "hand", task: "ADD" });
  const report = await collector(world).collect([list]);
  assertEquals(report.removed.map(({ why }) => why), ["its ADD was interrupted"]);
  assert(
    world.host.requests.some(({ args }) => args?.includes(entry)),
    "its plugins are ended",
  );
});

Deno.test("a plugin that hangs in GC is killed after its timeout, and the next one is asked", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { GC: { hang: true } });
  await world.plugins.install("b");
  const report = await collector(world, [], 5_000).collect([listOf(["a", "b"])]);
  assertEquals(report.failed.map(({ plugin, error }) => [plugin, error?.kind]), [["a", "timeout"]]);
  assertEquals(await world.plugins.verbs(), ["a GC", "b GC"]);
});

Deno.test("a selection that contradicts itself is refused before anything is read", async () => {
  await using world = await NetworkWorld.make();
  const selection = { all: true, valid: [] };
  const error = await assertRejects(() => collector(world).collect([], selection), CniError);
  assertEquals((error as CniError).kind, "usage");
});

Deno.test("an attachment whose record cannot be read counts as in use, unless everything made by hand is selected", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const list = listOf(["a"]);
  await attach(world, list, "c1");
  const file = recordFile(world.stateDir, "c1");
  await putRecord(file, { ifName: "eth0", network: "web" }, "{");
  const content = await Deno.readTextFile(file);
  const report = await collector(world).collect([list], { network: "web" });
  assertEquals([report.removed, report.failed, report.kept.map(shown)], [[], [], [
    `attachment: c1: its record ${file} cannot be read, and it is unknown whether ` +
    `it is in use: \`podwire del web ${world.netns} --id c1 --ifname eth0\` detaches it`,
  ]]);
  assertEquals(valid((await a.calls()).at(-1)!.config), ["c1:eth0"]);
  assertEquals(await Deno.readTextFile(file), content);
  for (const dryRun of [true, false]) {
    const all = await collector(world).collect([list], { all: true, dryRun });
    assertEquals([all.kept, all.failed, all.removed.map(shown)], [[], [], [
      "attachment: c1: its record could not be read, and nothing uses it",
    ]]);
  }
  assertEquals([await world.files(), valid((await a.calls()).at(-1)!.config)], [[], []]);
});

Deno.test("a sweep that is cancelled throws the reason, and what was removed until then stays removed", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { GC: { hang: true } });
  const list = listOf(["a"]);
  await attach(world, list, "gone");
  const cancel = new AbortController();
  const sweep = collector(world).collect([list], {}, { signal: cancel.signal });
  while (!(await world.plugins.verbs()).includes("a GC")) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  cancel.abort(new CniError("cancelled", "enough"));
  assertEquals((await assertRejects(() => sweep, CniError) as CniError).msg, "enough");
  assertEquals(await world.files(), []);
});
