import { assert, assertEquals } from "@std/assert";
import { listOf, NetworkWorld } from "../attachment/world.ts";
import { attach, collector, foreign, reportToJson, valid } from "./world.ts";

const DEL_REFUSAL = { stdout: '{"code": 108, "msg": "will not"}', code: 1 };

Deno.test("D55 D60 E28 B32 GC removes attachments without owner, the last one first, then sends the remaining ones to the plugins", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const list = listOf(["a"]);
  for (const id of ["live", "gone1", "gone2"]) await attach(world, list, id);
  await attach(world, list, "hand", "cli");
  await foreign(world, "other");
  await foreign(world, "elsewhere", "net2");
  const report = await collector(world, ["live"]).collect([list]);
  assertEquals(reportToJson(report), {
    removed: [
      "attachment: gone2: its sandbox is gone",
      "attachment: gone1: its sandbox is gone",
    ],
    kept: [
      "attachment: live: its sandbox is there",
      'attachment: hand: it was made by hand (owner "cli"), which only its maker can judge',
      "attachment: elsewhere: another runtime attached it",
      "attachment: other: another runtime attached it",
    ],
    failed: [],
  });
  const calls = (await world.plugins.log()).filter((line) => !line.includes("ADD"));
  // The containers have no order. GC comes after all of them.
  assertEquals([calls.slice(0, 2).sort(), calls.slice(2)], [["a DEL gone1 eth0", "a DEL gone2 eth0"], [
    "a GC  ",
  ]]);
  assertEquals(valid((await a.calls()).at(-1)!.config), ["hand:eth0", "live:eth0", "other:eth0"]);
  assertEquals(await world.files(), [
    "hand/eth0@web",
    "live/eth0@web",
    "results/net2-elsewhere-eth0",
    "results/web-hand-eth0",
    "results/web-live-eth0",
    "results/web-other-eth0",
  ]);
});

Deno.test("H20 D62 attachments made by hand are removed only if others are named as valid or all are selected; foreign ones never are", async () => {
  for (const named of [true, false]) {
    await using world = await NetworkWorld.make();
    const a = await world.plugins.install("a");
    const list = listOf(["a"]);
    for (const id of ["hand1", "hand2"]) await attach(world, list, id, "cli");
    await attach(world, list, "live");
    await foreign(world, "other");
    const selection = named ? { valid: [{ containerId: "hand1", ifName: "eth0" }] } : { all: true };
    const report = await collector(world, ["live"]).collect([list], selection);
    assertEquals(
      report.removed.map(({ containerId }) => containerId),
      named ? ["hand2"] : ["hand2", "hand1"],
    );
    const remaining = [...(named ? ["hand1:eth0"] : []), "live:eth0", "other:eth0"];
    assertEquals(valid((await a.calls()).at(-1)!.config), remaining);
    assert((await world.files()).includes("results/web-other-eth0"));
  }
});

Deno.test("B33 D62 the list of valid attachments is an array also when nothing is attached", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await collector(world).collect([listOf(["a"])]);
  assertEquals(valid((await a.calls())[0]!.config), []);
});

Deno.test("D55 the plugins get what the caller names as valid, even if another runtime attached it", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await collector(world).collect([listOf(["a"])], { valid: [{ containerId: "far", ifName: "net-1" }] });
  assertEquals(valid((await a.calls())[0]!.config), ["far:net-1"]);
});

Deno.test("D56 D57 DEL gets the configuration and arguments of the ADD, never the current ones", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const b = await world.plugins.install("b");
  const added = listOf([], { plugins: [{ type: "a", old: true, capabilities: { mac: true } }] });
  const request = world.request({
    containerId: "gone",
    owner: "sandbox:gone",
    args: [["K", "V"]],
    capabilityArgs: { mac: "02:00:00:00:00:01" },
  });
  await world.attachments().add(added, request);
  const report = await collector(world).collect([listOf(["b"])]);
  assertEquals([report.removed.length, report.failed], [1, []]);
  const [, del, ...more] = await a.calls();
  assertEquals({
    verb: del?.verb,
    old: del?.config.old,
    runtimeConfig: del?.config.runtimeConfig,
    CNI_ARGS: del?.env.CNI_ARGS,
  }, { verb: "DEL", old: true, runtimeConfig: { mac: "02:00:00:00:00:01" }, CNI_ARGS: "K=V" });
  // The plugins of both chains may hold resources: those of the current list and those of the ADD.
  assertEquals([more.map(({ verb }) => verb), (await b.calls()).map(({ verb }) => verb)], [["GC"], ["GC"]]);
  assertEquals(await world.files(), []);
});

Deno.test("D58 D61 a DEL that fails stops neither the other removals nor GC, and its record still counts as in use", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await world.plugins.install("b", { GC: { code: 2, stderr: "no room" } });
  const list = listOf(["a", "b"]);
  for (const id of ["x1", "x2", "x3"]) await attach(world, list, id);
  await a.answer("DEL", DEL_REFUSAL, 2);
  // One at a time, so that the second call belongs to the second container.
  const report = await collector(world).collect([list], { concurrency: 1 });
  assertEquals(report.removed.map(({ containerId }) => containerId), ["x3", "x1"]);
  assertEquals(
    report.failed.map(({ kind, containerId, plugin, network }) => [kind, containerId ?? plugin, network]),
    [
      ["attachment", "x2", "web"],
      ["plugin", "b", "web"],
    ],
  );
  assertEquals(
    report.failed.map(({ error }) => [error?.code, error?.context.verb, error?.context.plugin?.type]),
    [
      [108, "DEL", "a"],
      [0, "GC", "b"],
    ],
  );
  assertEquals(valid((await a.calls()).at(-1)!.config), ["x2:eth0"]);
  const [record] = await world.store.all();
  assertEquals({ state: record?.state, attempts: record?.attempts }, { state: "failed", attempts: 1 });
  // The next sweep tries again.
  assertEquals((await collector(world, ["x2"]).collect([list])).removed.map(({ why }) => why), [
    "its DEL had failed",
  ]);
});

Deno.test("D54 with disableGC neither DEL nor GC happens", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const list = listOf(["a"], { disableGC: true });
  await attach(world, list, "gone");
  const report = await collector(world).collect([list], { all: true });
  assertEquals(reportToJson(report), {
    removed: [],
    kept: ["attachment: gone: its network says disableGC"],
    failed: [],
  });
  // The same if the file is gone: then the record says it.
  assertEquals((await collector(world).collect([], { all: true })).removed, []);
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
});

Deno.test("D59 D60 below 1.1.0 the stale attachments are removed and no plugin gets GC", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const list = listOf(["a"], { cniVersion: "0.4.0" });
  await attach(world, list, "gone");
  assertEquals((await collector(world).collect([list])).removed.length, 1);
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
});

Deno.test("D76 GC is sent in the version that all plugins support", async () => {
  await using world = await NetworkWorld.make();
  const versions = (...supportedVersions: string[]) => ({
    VERSION: { stdout: JSON.stringify({ cniVersion: "1.0.0", supportedVersions }) },
  });
  await world.plugins.install("a", versions("1.0.0", "1.1.0"));
  await world.plugins.install("b", versions("0.4.0"));
  await world.plugins.install("old", versions("1.0.0"));
  const list = (type: string) => listOf([type], { name: type, cniVersions: ["1.0.0", "1.1.0"] });
  const report = await collector(world).collect([list("a"), list("b"), list("old")]);
  assertEquals(
    report.failed.map(({ kind, network, error }) => [kind, network, error?.code]),
    [["plugin", "b", 1]],
  );
  assertEquals(await world.plugins.verbs(), ["a VERSION", "a GC", "b VERSION", "old VERSION"]);
});

Deno.test("GC of a network whose file is gone uses its records", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await attach(world, listOf(["a"]), "gone");
  await attach(world, listOf(["a"]), "live");
  assertEquals((await collector(world, ["live"]).collect([])).removed.length, 1);
  assertEquals(valid((await a.calls()).at(-1)!.config), ["live:eth0"]);
  assertEquals(await world.plugins.verbs(), ["a ADD", "a ADD", "a DEL", "a GC"]);
});

Deno.test("a sweep of one network leaves the others alone", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b");
  const [web, db] = [listOf(["a"]), listOf(["b"], { name: "db" })];
  for (const list of [web, db]) await attach(world, list, "gone");
  await foreign(world, "other", "db");
  const report = await collector(world).collect([web, db], { network: "web" });
  assertEquals(reportToJson(report), {
    removed: ["attachment: gone: its sandbox is gone"],
    kept: [],
    failed: [],
  });
  assertEquals((await world.plugins.verbs()).slice(2), ["a DEL", "a GC"]);
});

Deno.test("a dry run reports what it would remove and why, runs no plugin and changes nothing", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const list = listOf(["a"], { cniVersions: ["1.0.0", "1.1.0"] });
  await attach(world, list, "gone");
  await attach(world, list, "hand", "cli");
  const [files, calls] = [await world.files(), await world.plugins.verbs()];
  const report = await collector(world).collect([list], { dryRun: true, all: true });
  assertEquals(reportToJson(report), {
    removed: [
      "attachment: hand: it was made by hand, and all such were to be removed",
      "attachment: gone: its sandbox is gone",
    ],
    kept: [],
    failed: [],
  });
  assertEquals([await world.files(), await world.plugins.verbs()], [files, calls]);
});
