import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { until } from "../until.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";
import { recordFile, recordText } from "../stores.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);
const REFUSAL = { stdout: '{"code": 107, "msg": "no room"}', code: 1 };
const DEL_REFUSAL = { stdout: '{"code": 108, "msg": "will not"}', code: 1 };

Deno.test("D9 D12 E13 ADD returns the final result, and writes it to the record and to libcni's cache", async () => {
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
    await world.onlyRecord();
  assertEquals({ state, owner, netns, sequence, bootId, attempts }, {
    state: "attached",
    owner: "sandbox:c1",
    netns: world.netns,
    sequence: 1,
    bootId: world.host.boot,
    attempts: 0,
  });
  assertEquals({ config, cniArgs, capabilityArgs, result: record.result }, {
    config: list.text,
    cniArgs: [["A", "1"]],
    capabilityArgs: { unasked: [1] },
    result,
  });
  assertEquals(await world.files(), ["c1/eth0@web", "results/web-c1-eth0"]);
  const entry = await world.cache.read({ containerId: "c1", network: "web", ifName: "eth0" });
  assertEquals({
    config: entry?.config,
    netns: entry?.netns,
    cniArgs: entry?.cniArgs,
    capabilityArgs: entry?.capabilityArgs,
    result: entry?.result,
  }, {
    config: list.text,
    netns: world.netns,
    cniArgs: [["A", "1"]],
    capabilityArgs: { unasked: [1] },
    result,
  });
});

Deno.test("D29 the complete record of an ADD is on disk before the first plugin runs; the cache entry only afterwards", async () => {
  await using world = await NetworkWorld.make();
  const script = `cp -r ${world.stateDir} "$call/seen"; ls ${world.cacheDir} >"$call/cache" 2>&1`;
  await world.plugins.install("a", { ADD: { script } });
  const list = listOf(["a"]);
  await world.attachments().add(list, world.request());
  const call = `${world.plugins.dir}/a.d/calls/0001`;
  const seen = JSON.parse(
    await recordText(recordFile(`${call}/seen`, "c1"), { ifName: "eth0", network: "web" }) ?? "",
  );
  assertEquals({ state: seen.state, config: seen.config, netns: seen.netns }, {
    state: "adding",
    config: list.text,
    netns: world.netns,
  });
  assertStringIncludes(await Deno.readTextFile(`${call}/cache`), "No such file");
});

Deno.test("D11 D28 D82 a failed ADD is undone by DEL of the whole list, in reverse order, and leaves nothing behind", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: REFUSAL });
  await world.plugins.install("c");
  const error = await failing(() => world.attachments().add(listOf(["a", "b", "c"]), world.request()));
  assertEquals({ code: error.code, msg: error.msg, type: error.context.plugin?.type }, {
    code: 107,
    msg: "no room",
    type: "b",
  });
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "c DEL", "b DEL", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("a plugin that did not run in the failed ADD does not keep the others from undoing their work", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: REFUSAL });
  await world.plugins.install("c", { DEL: DEL_REFUSAL });
  const refused = await failing(() => world.attachments().add(listOf(["a", "b", "c"]), world.request()));
  assertEquals({ code: refused.code, hint: refused.context.hint }, { code: 107, hint: undefined });
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "c DEL", "b DEL", "a DEL"]);
  assertEquals(await world.files(), []);
  // Nor does a plugin that could not be started, or the plugins after it.
  await Deno.writeTextFile(`${world.plugins.dir}/garbled`, "no program", { mode: 0o755 });
  const list = listOf(["a", "garbled", "c"]);
  assertEquals((await failing(() => world.attachments().add(list, world.request()))).kind, "plugin-start");
  assertEquals((await world.plugins.verbs()).slice(5), ["a ADD", "c DEL", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("the DELs that undo an ADD get the last result of its plugins", async () => {
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

Deno.test("a plugin that refuses the version of its ADD and DEL does not keep the others from undoing their work", async () => {
  await using world = await NetworkWorld.make();
  const refusal = { stdout: '{"code": 1, "msg": "incompatible CNI versions"}', code: 1 };
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: refusal, DEL: refusal });
  const refused = await failing(() => world.attachments().add(listOf(["a", "b"]), world.request()));
  assertEquals({ code: refused.code, type: refused.context.plugin?.type }, { code: 1, type: "b" });
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("a retry of a failed undo also knows which plugins did not run", async () => {
  await using world = await NetworkWorld.make();
  const refusal = { stdout: '{"code": 1, "msg": "incompatible CNI versions"}', code: 1 };
  const a = await world.plugins.install("a", { DEL: DEL_REFUSAL });
  await world.plugins.install("b", { ADD: refusal, DEL: refusal });
  const attachments = world.attachments();
  await failing(() => attachments.add(listOf(["a", "b"]), world.request()));
  assertEquals((await world.onlyRecord()).state, "failed");
  await a.answer("DEL", { stdout: "" });
  await attachments.remove(await world.onlyRecord());
  assertEquals(await world.files(), []);
});

Deno.test("an ADD that timed out is undone with a timeout of its own", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: "", hang: true }, DEL: { sleep: 0.1 } });
  const attachments = world.attachments({ ADD: 5_000 });
  const error = await failing(() => attachments.add(listOf(["a"]), world.request()));
  assertEquals({ kind: error.kind, verb: error.context.verb, type: error.context.plugin?.type }, {
    kind: "timeout",
    verb: "ADD",
    type: "a",
  });
  assert((error.context.elapsedMs ?? 0) >= 300, String(error.context.elapsedMs));
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("an ADD that was cancelled is undone nevertheless", async () => {
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

Deno.test("an undo that fails too stays on record as failed, and the error has a hint and keeps its cause", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: REFUSAL, DEL: DEL_REFUSAL });
  const before = Date.now();
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals({ code: error.code, verb: error.context.verb }, { code: 107, verb: "ADD" });
  assertStringIncludes(error.context.hint ?? "", "podwire recover");
  const { state, attempts, nextTry, error: recorded } = await world.onlyRecord();
  assertEquals({ state, attempts, code: recorded?.code, verb: recorded?.verb }, {
    state: "failed",
    attempts: 1,
    code: 108,
    verb: "DEL",
  });
  const wait = Date.parse(nextTry ?? "") - before;
  assert(wait >= 700 && wait < 60_000, String(wait));
  assertEquals(world.log.all, ['warn clean-up after the failed ADD to "web" failed too']);
});

Deno.test("D10 D29 if the cache entry cannot be written, the ADD is undone, with the result of the plugins", async () => {
  await using world = await NetworkWorld.make();
  const script = `touch ${world.cacheDir}`;
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24"), script } });
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals({ verb: error.context.verb, network: error.context.network }, { verb: "ADD", network: "web" });
  const [, del] = await a.calls();
  assertEquals(del?.config.prevResult, JSON.parse(resultWith("10.1.0.2/24")));
  // The cache is not a folder now: removing the entry fails as well, and so the record stays.
  const { state, result } = await world.onlyRecord();
  assertEquals({ state, result }, { state: "failed", result: JSON.parse(resultWith("10.1.0.2/24")) });
  await Deno.remove(world.cacheDir);
  await world.attachments().remove(await world.onlyRecord());
  assertEquals(await world.files(), []);
});

Deno.test("D30 a second ADD is refused, and runs and changes nothing", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.attachments().add(listOf(["a"]), world.request());
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals({ kind: error.kind, ifName: error.context.ifName }, { kind: "conflict", ifName: "eth0" });
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
  assertEquals((await world.onlyRecord()).state, "attached");
  await world.attachments().add(listOf(["a"]), world.request({ ifName: "eth1" }));
  assertEquals((await world.store.ofContainer("c1")).map(({ sequence }) => sequence), [1, 2]);
});

Deno.test("D30 D40 an attachment that another runtime deleted is deleted once more, and attached again", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.attachments().add(listOf(["a"]), world.request());
  // libcni does this at the end of its DEL.
  await Deno.remove(`${world.cacheDir}/results/web-c1-eth0`);
  await world.attachments().add(listOf(["a"]), world.request());
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL", "a ADD"]);
  assertEquals((await world.onlyRecord()).state, "attached");
  assertEquals(await world.files(), ["c1/eth0@web", "results/web-c1-eth0"]);
  // An entry that cannot be read is not proof of a DEL.
  await Deno.writeTextFile(`${world.cacheDir}/results/web-c1-eth0`, "{");
  assertEquals(
    (await failing(() => world.attachments().add(listOf(["a"]), world.request()))).kind,
    "conflict",
  );
});

Deno.test("what an interrupted ADD left is deleted with its own configuration before the next ADD begins", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("old");
  await world.plugins.install("new");
  const attachments = world.attachments();
  await attachments.add(listOf(["old"]), world.request());
  for (const state of ["adding", "deleting", "failed"] as const) {
    await world.store.write({ ...(await world.onlyRecord()), state, config: listOf(["old"]).text });
    await Deno.remove(`${world.plugins.dir}/calls.log`);
    await world.attachments().add(listOf(["new"]), world.request());
    assertEquals(await world.plugins.verbs(), ["old DEL", "new ADD"]);
    assertEquals((await world.onlyRecord()).state, "attached");
  }
});

Deno.test("if the leftover cannot be deleted, the next ADD does not begin", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: REFUSAL, DEL: DEL_REFUSAL });
  await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals({ code: error.code, verb: error.context.verb }, { code: 108, verb: "DEL" });
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL", "a DEL"]);
  assertEquals((await world.onlyRecord()).attempts, 2);
});

Deno.test("D2 D3 a missing plugin is reported before any other runs, and nothing is on record", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const error = await failing(() => world.attachments().add(listOf(["a", "gone"]), world.request()));
  assertEquals({ kind: error.kind, plugin: error.context.plugin }, {
    kind: "plugin-missing",
    plugin: { type: "gone", index: 1, count: 2 },
  });
  assertEquals({ verbs: await world.plugins.verbs(), files: await world.files() }, { verbs: [], files: [] });
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
  assertEquals({ verbs: await world.plugins.verbs(), files: await world.files() }, { verbs: [], files: [] });
});

Deno.test("E4 an ADD whose entry would replace another attachment's is refused before any plugin runs", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.attachments().add(listOf(["a"], { name: "a-b" }), world.request({ containerId: "c" }));
  const request = world.request({ containerId: "b-c" });
  const error = await failing(() => world.attachments().add(listOf(["a"], { name: "a" }), request));
  assertEquals({ kind: error.kind, network: error.context.network, containerId: error.context.containerId }, {
    kind: "conflict",
    network: "a",
    containerId: "b-c",
  });
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
  assertEquals(await world.files(), ["c/eth0@a-b", "results/a-b-c-eth0"]);
});

Deno.test("D30 an attachment of another runtime is not attached again, unless its namespace is gone", async () => {
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
