import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";
import { putRecord, recordFile, recordText } from "../stores.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);
const DEL_REFUSAL = { stdout: '{"code": 108, "msg": "will not"}', code: 1 };

Deno.test("D38 DEL uses configuration, arguments and result of the ADD from the record, and removes record and cache entry", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  await world.plugins.install("b");
  const list = listOf([], { plugins: [{ type: "a", capabilities: { mac: true } }] });
  const request = world.request({ args: [["A", "1"]], capabilityArgs: { mac: "02:00:00:00:00:01" } });
  await world.attachments().add(list, request);
  // The file has changed since then, and the caller repeats no arguments.
  await world.attachments().del(listOf(["b"]), world.request());
  const [, del] = await a.calls();
  assertEquals({ verb: del?.verb, CNI_ARGS: del?.env.CNI_ARGS, CNI_NETNS: del?.env.CNI_NETNS }, {
    verb: "DEL",
    CNI_ARGS: "A=1",
    CNI_NETNS: world.netns,
  });
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
    assertEquals({ code: error.code, verb: error.context.verb, type: error.context.plugin?.type }, {
      code: 108,
      verb: "DEL",
      type: "a",
    });
    const record = await world.onlyRecord();
    assertEquals({ state: record.state, attempts: record.attempts, msg: record.error?.msg }, {
      state: "failed",
      attempts,
      msg: "will not",
    });
    const wait = (Date.parse(record.nextTry ?? "") - before) / 1000;
    assert(wait >= 0.7 * 2 ** (attempts - 1) && wait < 2 ** (attempts - 1) + 20, `${attempts}: ${wait}`);
    assertEquals(await world.files(), ["c1/eth0@web", "results/web-c1-eth0"]);
  }
  await a.answer("DEL", {});
  await attachments.remove(await world.onlyRecord());
  assertEquals((await a.calls()).at(-1)?.config.prevResult, JSON.parse(resultWith("10.1.0.2/24")));
  assertEquals(await world.files(), []);
});

Deno.test("the beginning of a DEL is on disk before its first plugin runs", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { DEL: { script: `cp -r ${world.stateDir} "$call/seen"` } });
  await world.attachments().add(listOf(["a"]), world.request());
  await world.attachments().del(listOf(["a"]), world.request());
  const file = recordFile(`${world.plugins.dir}/a.d/calls/0002/seen`, "c1");
  const seen = await recordText(file, { ifName: "eth0", network: "web" });
  assertEquals(JSON.parse(seen ?? "").state, "deleting");
});

Deno.test("D34 D40 DEL without an attachment asks the plugins, and succeeds if they succeed", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const attachments = world.attachments();
  await attachments.del(listOf(["a"]), world.request({ netns: "" }));
  await attachments.del(listOf(["a"]), world.request());
  const [first] = await a.calls();
  assertEquals([first?.env.CNI_NETNS, "prevResult" in first?.config], ["", false]);
  assertEquals(await world.plugins.verbs(), ["a DEL", "a DEL"]);
});

Deno.test("a DEL that times out ends its plugin and stays on record", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { DEL: { hang: true } });
  const attachments = world.attachments({ DEL: 200 });
  await attachments.add(listOf(["a"]), world.request());
  const error = await failing(() => attachments.del(listOf(["a"]), world.request()));
  assertEquals({ kind: error.kind, verb: error.context.verb }, { kind: "timeout", verb: "DEL" });
  const { state, error: recorded } = await world.onlyRecord();
  assertEquals({ state, kind: recorded?.kind }, { state: "failed", kind: "timeout" });
});

Deno.test("D41 a path that is gone, or leads to another namespace now, is passed to DEL as empty", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const attachments = world.attachments();
  await attachments.add(listOf(["a"]), world.request({ ifName: "eth0" }));
  await attachments.add(listOf(["a"]), world.request({ ifName: "eth1" }));
  await Deno.remove(world.netns);
  await attachments.del(listOf(["a"]), world.request({ ifName: "eth0" }));
  // Any other namespace will do here, so this uses one of another kind.
  await Deno.symlink("/proc/self/ns/uts", world.netns);
  await attachments.del(listOf(["a"]), world.request({ ifName: "eth1" }));
  const dels = (await a.calls()).filter(({ verb }) => verb === "DEL");
  assertEquals(dels.map(({ env }) => env.CNI_NETNS), ["", ""]);
});

Deno.test("after a restart of the machine DEL gets no namespace, even if the path leads to one again", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await world.attachments().add(listOf(["a"]), world.request());
  world.host.boot = "another boot";
  await world.attachments().del(listOf(["a"]), world.request());
  assertEquals((await a.calls()).at(-1)?.env.CNI_NETNS, "");
});

Deno.test("D31 Y8 an attachment of a Go runtime is deleted with its configuration, arguments and result", async () => {
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
  assertEquals({ CNI_ARGS: del?.env.CNI_ARGS, runtimeConfig: del?.config.runtimeConfig }, {
    CNI_ARGS: "A=1",
    runtimeConfig: { mac: "02:00:00:00:00:01" },
  });
  assertEquals(del?.config.prevResult, entry.result);
  assertEquals(await world.files(), []);
});

Deno.test("D74 A64 F76 DEL works with an entry that has a single configuration, or no plugins", async () => {
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

Deno.test("D32 D39 an entry that cannot be read is logged, does not stop DEL, and is removed only after its success", async () => {
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

Deno.test("D29 a crash between the cache entry and the record does not lose the result for DEL", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  await world.attachments().add(listOf(["a"]), world.request());
  await world.store.write({ ...(await world.onlyRecord()), state: "adding", result: undefined });
  await world.attachments().remove(await world.onlyRecord());
  assertEquals((await a.calls()).at(-1)?.config.prevResult, JSON.parse(resultWith("10.1.0.2/24")));
});

Deno.test("D20 D21 CHECK needs 0.4.0, and asks no plugin if the list has disableCheck", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const attachments = world.attachments();
  const old = listOf(["a"], { cniVersion: "0.3.1", disableCheck: true });
  const error = await failing(() => attachments.check(old, world.request()));
  assertEquals({ code: error.code, msg: error.msg }, {
    code: 1,
    msg: 'configuration version "0.3.1" does not support the CHECK command',
  });
  await attachments.check(listOf(["a"], { disableCheck: true }), world.request());
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("D23 D24 D44 D83 CHECK repeats arguments and result of the ADD; without an ADD it asks the plugins nevertheless", async () => {
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

Deno.test("D22 CHECK of an attachment of another runtime fails if its entry cannot be read", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await Deno.mkdir(`${world.cacheDir}/results`, { recursive: true });
  await Deno.writeTextFile(`${world.cacheDir}/results/web-c1-eth0`, "{}");
  const error = await failing(() => world.attachments().check(listOf(["a"]), world.request()));
  assertEquals({
    kind: error.kind,
    code: error.code,
    verb: error.context.verb,
    network: error.context.network,
  }, { kind: "io", code: 6, verb: "CHECK", network: "web" });
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

Deno.test("an ADD over an attachment whose record cannot be read fails and names the file", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.attachments().add(listOf(["a"]), world.request());
  const path = recordFile(world.stateDir, "c1");
  await putRecord(path, { ifName: "eth0", network: "web" }, "{");
  const content = await Deno.readTextFile(path);
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals(error.kind, "conflict");
  assertStringIncludes(error.context.details ?? "", `${path}: `);
  assertEquals(await Deno.readTextFile(path), content);
  assertStringIncludes(error.msg, "its record could not be read");
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
});
