import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { AttachmentRecord } from "../../lib/state/attachment_store.ts";
import { CniError } from "../../lib/cni/error.ts";
import { until } from "../until.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);
const REFUSAL = { stdout: '{"code": 107, "msg": "no room"}', code: 1 };
const DEL_REFUSAL = { stdout: '{"code": 108, "msg": "will not"}', code: 1 };

/** The one record that there is. */
async function onlyRecord(world: NetworkWorld): Promise<AttachmentRecord> {
  const records = await world.store.all();
  assertEquals(records.length, 1);
  return records[0]!;
}

Deno.test("D9 D12 E13 ADD gives the final result, remembers it and leaves libcni's entry", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const list = listOf(["a"]);
  const request = world.request({
    args: [["A", "1"]],
    capabilityArgs: { unasked: [1] },
    owner: "sandbox:c1",
  });
  const result = await world.attachments().add(list, request);
  assertEquals(result, { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] });
  const { state, owner, config, cniArgs, capabilityArgs, netns, sequence, bootId, attempts, ...record } =
    await onlyRecord(world);
  assertEquals([state, owner, netns, sequence, bootId, attempts], [
    "attached",
    "sandbox:c1",
    world.netns,
    1,
    world.host.boot,
    0,
  ]);
  assertEquals([config, cniArgs, capabilityArgs, record.result], [
    list.text,
    [["A", "1"]],
    { unasked: [1] },
    result,
  ]);
  assertEquals(await world.files(), ["c1/eth0@web.json", "results/web-c1-eth0"]);
  const entry = await world.cache.read({ containerId: "c1", network: "web", ifName: "eth0" });
  assertEquals([entry?.config, entry?.netns, entry?.cniArgs, entry?.capabilityArgs, entry?.result], [
    list.text,
    world.netns,
    [["A", "1"]],
    { unasked: [1] },
    result,
  ]);
});

Deno.test("D29 that an ADD has begun is on disk, whole, before the first plugin runs; the cache entry only after", async () => {
  await using world = await NetworkWorld.make();
  const script = `cp -r ${world.stateDir}/attachments "$call/seen"; ls ${world.cacheDir} >"$call/cache" 2>&1`;
  await world.plugins.install("a", { ADD: { script } });
  const list = listOf(["a"]);
  await world.attachments().add(list, world.request());
  const call = `${world.plugins.dir}/a.d/calls/0001`;
  const seen = JSON.parse(await Deno.readTextFile(`${call}/seen/c1/eth0@web.json`));
  assertEquals([seen.state, seen.config, seen.netns], ["adding", list.text, world.netns]);
  assertStringIncludes(await Deno.readTextFile(`${call}/cache`), "No such file");
});

Deno.test("D11 D28 D82 a failed ADD is undone by DEL of the whole list, backwards, and leaves nothing behind", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: REFUSAL });
  await world.plugins.install("c");
  const error = await failing(() => world.attachments().add(listOf(["a", "b", "c"]), world.request()));
  assertEquals([error.code, error.msg, error.context.plugin?.type], [107, "no room", "b"]);
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "c DEL", "b DEL", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("a plugin that never ran in the failed ADD does not keep the others from taking back what they made", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: REFUSAL });
  await world.plugins.install("c", { DEL: DEL_REFUSAL });
  const refused = await failing(() => world.attachments().add(listOf(["a", "b", "c"]), world.request()));
  assertEquals([refused.code, refused.context.hint], [107, undefined]);
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "c DEL", "b DEL", "a DEL"]);
  assertEquals(await world.files(), []);
  // Nor does the one that could not be started, with those behind it.
  await Deno.writeTextFile(`${world.plugins.dir}/garbled`, "no program", { mode: 0o755 });
  const list = listOf(["a", "garbled", "c"]);
  assertEquals((await failing(() => world.attachments().add(list, world.request()))).kind, "plugin-start");
  assertEquals((await world.plugins.verbs()).slice(5), ["a ADD", "c DEL", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("the DELs that undo an ADD get the result to which its plugins had come", async () => {
  await using world = await NetworkWorld.make();
  const result = '{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]}';
  const a = await world.plugins.install("a", { ADD: { stdout: result } });
  await world.plugins.install("b", { ADD: REFUSAL });
  await failing(() => world.attachments().add(listOf(["a", "b"]), world.request()));
  assertEquals((await a.calls()).map(({ stdin }) => JSON.parse(stdin).prevResult), [
    undefined,
    JSON.parse(result),
  ]);
});

Deno.test("a plugin that refuses the version of its ADD and DEL does not keep the others from taking back what they made", async () => {
  await using world = await NetworkWorld.make();
  const refusal = { stdout: '{"code": 1, "msg": "incompatible CNI versions"}', code: 1 };
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: refusal, DEL: refusal });
  const refused = await failing(() => world.attachments().add(listOf(["a", "b"]), world.request()));
  assertEquals([refused.code, refused.context.plugin?.type], [1, "b"]);
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("a retry of an undo that failed knows as well which plugins never ran", async () => {
  await using world = await NetworkWorld.make();
  const refusal = { stdout: '{"code": 1, "msg": "incompatible CNI versions"}', code: 1 };
  const a = await world.plugins.install("a", { DEL: DEL_REFUSAL });
  await world.plugins.install("b", { ADD: refusal, DEL: refusal });
  const attachments = world.attachments();
  await failing(() => attachments.add(listOf(["a", "b"]), world.request()));
  assertEquals((await onlyRecord(world)).state, "failed");
  await a.answer("DEL", { stdout: "" });
  await attachments.remove(await onlyRecord(world));
  assertEquals(await world.files(), []);
});

Deno.test("an ADD that ran out of time is undone with a time of its own", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: "", hang: true }, DEL: { sleep: 0.1 } });
  const attachments = world.attachments({ ADD: 5_000 });
  const error = await failing(() => attachments.add(listOf(["a"]), world.request()));
  assertEquals([error.kind, error.context.verb, error.context.plugin?.type], ["timeout", "ADD", "a"]);
  assert((error.context.elapsedMs ?? 0) >= 300, String(error.context.elapsedMs));
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("an ADD that was cancelled is undone all the same", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: "", hang: true } });
  const cancel = new AbortController();
  const pending = failing(() =>
    world.attachments().add(listOf(["a"]), world.request(), { signal: cancel.signal })
  );
  await until(async () => (await world.plugins.verbs()).length > 0);
  cancel.abort();
  assertEquals((await pending).kind, "cancelled");
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("an undo that fails too stays on record as failed, and the error says so and keeps its cause", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: REFUSAL, DEL: DEL_REFUSAL });
  const before = Date.now();
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals([error.code, error.context.verb], [107, "ADD"]);
  assertStringIncludes(error.context.hint ?? "", "podwire recover");
  const { state, attempts, nextTry, error: recorded } = await onlyRecord(world);
  assertEquals([state, attempts, recorded?.code, recorded?.verb], ["failed", 1, 108, "DEL"]);
  const wait = Date.parse(nextTry ?? "") - before;
  assert(wait >= 700 && wait < 60_000, String(wait));
  assertEquals(world.log.all, ['warn clean-up after the failed ADD to "web" failed too']);
});

Deno.test("D10 D29 a cache entry that cannot be written undoes the ADD, with the result that the plugins made", async () => {
  await using world = await NetworkWorld.make();
  const script = `touch ${world.cacheDir}`;
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24"), script } });
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals([error.context.verb, error.context.network], ["ADD", "web"]);
  const [, del] = await a.calls();
  assertEquals(del?.config.prevResult, JSON.parse(resultWith("10.1.0.2/24")));
  // The cache is no folder now: removing the entry fails as well, and so it stays on record.
  const { state, result } = await onlyRecord(world);
  assertEquals([state, result], ["failed", JSON.parse(resultWith("10.1.0.2/24"))]);
  await Deno.remove(world.cacheDir);
  await world.attachments().remove(await onlyRecord(world));
  assertEquals(await world.files(), []);
});

Deno.test("D30 a second ADD is refused, and runs and changes nothing", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.attachments().add(listOf(["a"]), world.request());
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals([error.kind, error.context.ifName], ["conflict", "eth0"]);
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
  assertEquals((await onlyRecord(world)).state, "attached");
  await world.attachments().add(listOf(["a"]), world.request({ ifName: "eth1" }));
  assertEquals((await world.store.ofContainer("c1")).map(({ sequence }) => sequence), [1, 2]);
});

Deno.test("D30 D40 what another runtime has deleted is deleted once more, and attached again", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.attachments().add(listOf(["a"]), world.request());
  // What libcni does at the end of its DEL.
  await Deno.remove(`${world.cacheDir}/results/web-c1-eth0`);
  await world.attachments().add(listOf(["a"]), world.request());
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL", "a ADD"]);
  assertEquals((await onlyRecord(world)).state, "attached");
  assertEquals(await world.files(), ["c1/eth0@web.json", "results/web-c1-eth0"]);
  // An entry that cannot be read says nothing of a DEL.
  await Deno.writeTextFile(`${world.cacheDir}/results/web-c1-eth0`, "{");
  assertEquals(
    (await failing(() => world.attachments().add(listOf(["a"]), world.request()))).kind,
    "conflict",
  );
});

Deno.test("what an interrupted ADD left is deleted, with the configuration of then, before the next begins", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("old");
  await world.plugins.install("new");
  const attachments = world.attachments();
  await attachments.add(listOf(["old"]), world.request());
  for (const state of ["adding", "deleting", "failed"] as const) {
    await world.store.write({ ...(await onlyRecord(world)), state, config: listOf(["old"]).text });
    await Deno.remove(`${world.plugins.dir}/calls.log`);
    await world.attachments().add(listOf(["new"]), world.request());
    assertEquals(await world.plugins.verbs(), ["old DEL", "new ADD"]);
    assertEquals((await onlyRecord(world)).state, "attached");
  }
});

Deno.test("a leftover that cannot be deleted keeps the next ADD from beginning", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: REFUSAL, DEL: DEL_REFUSAL });
  await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals([error.code, error.context.verb], [108, "DEL"]);
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL", "a DEL"]);
  assertEquals((await onlyRecord(world)).attempts, 2);
});

Deno.test("D2 D3 a plugin that is missing is told before any other has run, and nothing is on record", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const error = await failing(() => world.attachments().add(listOf(["a", "gone"]), world.request()));
  assertEquals([error.kind, error.context.plugin], ["plugin-missing", { type: "gone", index: 1, count: 2 }]);
  assertEquals([await world.plugins.verbs(), await world.files()], [[], []]);
});

Deno.test("D4 D27 D42 D43 E3 E40 names and arguments are validated on every verb, before anything is read or run", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const attachments = world.attachments();
  const bad = [
    { containerId: "" },
    { containerId: "../../etc" },
    { ifName: "../up" },
    { ifName: "" },
    { args: [["A", "1;B=2"]] as const },
  ];
  for (const overrides of bad) {
    const request = world.request(overrides);
    for (const act of ["add", "check", "del"] as const) {
      assertEquals((await failing(() => attachments[act](listOf(["a"]), request))).kind, "usage");
    }
  }
  assertEquals([await world.plugins.verbs(), await world.files()], [[], []]);
});

Deno.test("E4 an ADD whose entry would replace another attachment's is refused before any plugin runs", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.attachments().add(listOf(["a"], { name: "a-b" }), world.request({ containerId: "c" }));
  const request = world.request({ containerId: "b-c" });
  const error = await failing(() => world.attachments().add(listOf(["a"], { name: "a" }), request));
  assertEquals([error.kind, error.context.network, error.context.containerId], ["conflict", "a", "b-c"]);
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
  assertEquals(await world.files(), ["c/eth0@a-b.json", "results/a-b-c-eth0"]);
});

Deno.test("D30 what another runtime attached is not attached again, unless its namespace is gone", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const entry = {
    containerId: "c1",
    network: "web",
    ifName: "eth0",
    config: listOf(["a"]).text,
    cniArgs: [],
    capabilityArgs: {},
    result: undefined,
  };
  await world.cache.write({ ...entry, netns: world.netns });
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals(error.kind, "conflict");
  assertStringIncludes(error.msg, "another runtime");
  await world.cache.write({ ...entry, netns: `${world.dir}/gone` });
  await world.attachments().add(listOf(["a"]), world.request());
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
});
