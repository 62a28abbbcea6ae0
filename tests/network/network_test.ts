import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { AttachmentRecord } from "../../lib/network/record.ts";
import { CniError } from "../../lib/spec/error.ts";
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

Deno.test("D28 D11 a failed ADD is undone by DEL of the whole list, backwards, and leaves nothing behind", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: REFUSAL });
  await world.plugins.install("c");
  const error = await failing(() => world.attachments().add(listOf(["a", "b", "c"]), world.request()));
  assertEquals([error.code, error.msg, error.context.plugin?.type], [107, "no room", "b"]);
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "c DEL", "b DEL", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("an ADD that ran out of time is undone with a time of its own", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: "", hang: true }, DEL: { sleep: 0.15 } });
  const attachments = world.attachments({ ADD: 250 });
  const error = await failing(() => attachments.add(listOf(["a"]), world.request()));
  assertEquals([error.kind, error.context.verb, error.context.plugin?.type], ["timeout", "ADD", "a"]);
  assert((error.context.elapsedMs ?? 0) >= 200, String(error.context.elapsedMs));
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("an ADD that was cancelled is undone all the same", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: "", hang: true } });
  const cancel = new AbortController();
  const pending = failing(() =>
    world.attachments().add(listOf(["a"]), world.request({ signal: cancel.signal }))
  );
  while ((await world.plugins.verbs()).length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
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
  assert(wait >= 700 && wait < 5_000, String(wait));
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

Deno.test("D27 D42 D43 E40 names and arguments are validated on every verb, before anything is read or run", async () => {
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

Deno.test("D38 DEL takes configuration, arguments and result of the ADD from the record, and forgets both files", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  await world.plugins.install("b");
  const list = listOf([], { plugins: [{ type: "a", capabilities: { mac: true } }] });
  const request = world.request({ args: [["A", "1"]], capabilityArgs: { mac: "02:00:00:00:00:01" } });
  await world.attachments().add(list, request);
  // The file has changed since, and the caller repeats nothing.
  await world.attachments().del(listOf(["b"]), world.request());
  const [, del] = await a.calls();
  assertEquals([del?.verb, del?.env.CNI_ARGS, del?.env.CNI_NETNS], ["DEL", "A=1", world.netns]);
  assertEquals(del?.config.runtimeConfig, { mac: "02:00:00:00:00:01" });
  assertEquals(del?.config.prevResult, JSON.parse(resultWith("10.1.0.2/24")));
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
  assertEquals(await world.files(), []);
});

Deno.test("D36 D39 a failed DEL stays on record with everything a retry needs, and counts its attempts", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", {
    ADD: { stdout: resultWith("10.1.0.2/24") },
    DEL: DEL_REFUSAL,
  });
  const attachments = world.attachments();
  await attachments.add(listOf(["a"]), world.request());
  for (const attempts of [1, 2, 3]) {
    const before = Date.now();
    const error = await failing(() => attachments.del(listOf(["a"]), world.request()));
    assertEquals([error.code, error.context.verb, error.context.plugin?.type], [108, "DEL", "a"]);
    const record = await onlyRecord(world);
    assertEquals([record.state, record.attempts, record.error?.msg], ["failed", attempts, "will not"]);
    const wait = (Date.parse(record.nextTry ?? "") - before) / 1000;
    assert(wait >= 0.7 * 2 ** (attempts - 1) && wait < 2 ** (attempts - 1) + 2, `${attempts}: ${wait}`);
    assertEquals(await world.files(), ["c1/eth0@web.json", "results/web-c1-eth0"]);
  }
  await a.answer("DEL", {});
  await attachments.remove(await onlyRecord(world));
  assertEquals((await a.calls()).at(-1)?.config.prevResult, JSON.parse(resultWith("10.1.0.2/24")));
  assertEquals(await world.files(), []);
});

Deno.test("that a DEL has begun is on disk before its first plugin runs", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { DEL: { script: `cp -r ${world.stateDir}/attachments "$call/seen"` } });
  await world.attachments().add(listOf(["a"]), world.request());
  await world.attachments().del(listOf(["a"]), world.request());
  const seen = await Deno.readTextFile(`${world.plugins.dir}/a.d/calls/0002/seen/c1/eth0@web.json`);
  assertEquals(JSON.parse(seen).state, "deleting");
});

Deno.test("D34 D40 DEL of what was never attached, or no longer is, asks the plugins and succeeds with them", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const attachments = world.attachments();
  await attachments.del(listOf(["a"]), world.request({ netns: "" }));
  await attachments.del(listOf(["a"]), world.request());
  const [first] = await a.calls();
  assertEquals([first?.env.CNI_NETNS, "prevResult" in first?.config], ["", false]);
  assertEquals(await world.plugins.verbs(), ["a DEL", "a DEL"]);
});

Deno.test("a DEL that runs out of time ends its plugin and stays on record", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { DEL: { hang: true } });
  const attachments = world.attachments({ DEL: 200 });
  await attachments.add(listOf(["a"]), world.request());
  const error = await failing(() => attachments.del(listOf(["a"]), world.request()));
  assertEquals([error.kind, error.context.verb], ["timeout", "DEL"]);
  const { state, error: recorded } = await onlyRecord(world);
  assertEquals([state, recorded?.kind], ["failed", "timeout"]);
});

Deno.test("D41 a path that is gone, or leads to another namespace by now, is passed to DEL as empty", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const attachments = world.attachments();
  await attachments.add(listOf(["a"]), world.request({ ifName: "eth0" }));
  await attachments.add(listOf(["a"]), world.request({ ifName: "eth1" }));
  await Deno.remove(world.netns);
  await attachments.del(listOf(["a"]), world.request({ ifName: "eth0" }));
  // A namespace of another kind serves here: what counts is that it is another one.
  await Deno.symlink("/proc/self/ns/uts", world.netns);
  await attachments.del(listOf(["a"]), world.request({ ifName: "eth1" }));
  const dels = (await a.calls()).filter(({ verb }) => verb === "DEL");
  assertEquals(dels.map(({ env }) => env.CNI_NETNS), ["", ""]);
});

Deno.test("after a restart of the machine DEL gets no namespace, though the path may lead to one again", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await world.attachments().add(listOf(["a"]), world.request());
  world.host.boot = "another boot";
  await world.attachments().del(listOf(["a"]), world.request());
  assertEquals((await a.calls()).at(-1)?.env.CNI_NETNS, "");
});

Deno.test("D31 Y8 what a Go runtime attached is deleted with its configuration, arguments and result", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await world.plugins.install("b");
  const entry = {
    containerId: "c1",
    network: "web",
    ifName: "eth0",
    netns: world.netns,
    config: listOf([], { plugins: [{ type: "a", capabilities: { mac: true } }] }).text,
    cniArgs: [["A", "1"]] as const,
    capabilityArgs: { mac: "02:00:00:00:00:01" },
    result: JSON.parse(resultWith("10.1.0.2/24")),
  };
  await world.cache.write(entry);
  await a.answer("DEL", DEL_REFUSAL, 1);
  await failing(() => world.attachments().del(listOf(["b"]), world.request()));
  assertEquals(await world.files(), ["results/web-c1-eth0"]);
  await world.attachments().del(listOf(["b"]), world.request());
  const del = (await a.calls()).at(-1);
  assertEquals([del?.env.CNI_ARGS, del?.config.runtimeConfig], ["A=1", { mac: "02:00:00:00:00:01" }]);
  assertEquals(del?.config.prevResult, entry.result);
  assertEquals(await world.files(), []);
});

Deno.test("D74 A64 F76 an entry with a single configuration, or without plugins, still deletes something", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b");
  const entry = {
    containerId: "c1",
    network: "web",
    ifName: "eth0",
    netns: world.netns,
    cniArgs: [],
    capabilityArgs: {},
    result: undefined,
  };
  const configs = [
    ['{"cniVersion": "1.0.0", "name": "web", "type": "a"}', "a DEL"],
    ['{"cniVersion": "1.0.0", "name": "web"}', "b DEL"],
    ["", "b DEL"],
    ["no JSON", "b DEL"],
  ] as const;
  for (const [config, expected] of configs) {
    await world.cache.write({ ...entry, config });
    await world.attachments().del(listOf(["b"]), world.request());
    assertEquals((await world.plugins.verbs()).at(-1), expected, config);
    assertEquals(await world.files(), []);
  }
});

Deno.test("D32 D39 an entry that cannot be read is told, does not stop DEL, and goes only when that succeeded", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await a.answer("DEL", DEL_REFUSAL, 1);
  await Deno.mkdir(`${world.cacheDir}/results`, { recursive: true });
  await Deno.writeTextFile(`${world.cacheDir}/results/web-c1-eth0`, '{"kind": "cniCa');
  await failing(() => world.attachments().del(listOf(["a"]), world.request()));
  assertEquals(await world.files(), ["results/web-c1-eth0"]);
  await world.attachments().del(listOf(["a"]), world.request());
  assertEquals("prevResult" in (await a.calls()).at(-1)?.config, false);
  assertStringIncludes(world.log.all[0] ?? "", "web-c1-eth0 cannot be read");
  assertEquals(await world.files(), []);
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

Deno.test("D20 D21 CHECK needs 0.4.0, and does nothing where the list says so", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const attachments = world.attachments();
  const old = listOf(["a"], { cniVersion: "0.3.1", disableCheck: true });
  const error = await failing(() => attachments.check(old, world.request()));
  assertEquals([error.code, error.msg], [
    1,
    'configuration version "0.3.1" does not support the CHECK command',
  ]);
  await attachments.check(listOf(["a"], { disableCheck: true }), world.request());
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("D23 D24 D44 CHECK repeats arguments and result of the ADD; without one it asks all the same", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const list = listOf([], { plugins: [{ type: "a", capabilities: { mac: true } }] });
  const attachments = world.attachments();
  await attachments.check(list, world.request());
  await attachments.add(
    list,
    world.request({ args: [["A", "1"]], capabilityArgs: { mac: "02:00:00:00:00:01" } }),
  );
  await attachments.check(list, world.request());
  await attachments.check(list, world.request({ args: [["A", "2"]], capabilityArgs: { mac: "x" } }));
  const checks = (await a.calls()).filter(({ verb }) => verb === "CHECK");
  assertEquals(checks.map(({ env }) => env.CNI_ARGS), ["", "A=1", "A=2"]);
  assertEquals(checks.map(({ config }) => config.runtimeConfig?.mac), [undefined, "02:00:00:00:00:01", "x"]);
  assertEquals(checks.map(({ config }) => config.prevResult?.ips?.[0]?.address), [
    undefined,
    "10.1.0.2/24",
    "10.1.0.2/24",
  ]);
});

Deno.test("D22 CHECK of what another runtime attached fails where its entry cannot be read", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await Deno.mkdir(`${world.cacheDir}/results`, { recursive: true });
  await Deno.writeTextFile(`${world.cacheDir}/results/web-c1-eth0`, "{}");
  const error = await failing(() => world.attachments().check(listOf(["a"]), world.request()));
  assertEquals([error.kind, error.code, error.context.verb, error.context.network], [
    "io",
    6,
    "CHECK",
    "web",
  ]);
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("Y5 a plugin of the first version works: no cniVersion, a result without one", async () => {
  await using world = await NetworkWorld.make();
  const old = '{"ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1"}, "dns": {}}';
  const a = await world.plugins.install("a", { ADD: { stdout: old } });
  const list = listOf(["a"], { cniVersion: undefined });
  const result = await world.attachments().add(list, world.request());
  assertEquals(result, { cniVersion: "0.1.0", ...JSON.parse(old) });
  await world.attachments().del(list, world.request());
  assertEquals(
    (await a.calls()).map(({ verb, config }) => [verb, config.cniVersion, "prevResult" in config]),
    [
      ["ADD", "0.1.0", false],
      ["DEL", "0.1.0", false],
    ],
  );
});
