// What each verb sends and reads, over single configurations and over entries of another runtime.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { gcChain, statusChain } from "../../lib/attachment/status_gc_chain.ts";
import { listFromPluginConfig } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);
const RESULT = JSON.parse(resultWith("10.1.0.2/24"));
const OLD_RESULT = { cniVersion: "0.4.0", ips: [{ version: "4", address: "10.1.0.2/24" }], dns: {} };
const ENTRY = {
  containerId: "c1",
  network: "web",
  ifName: "eth0",
  netns: "/run/netns/of-then",
  config: listOf(["a"]).text,
  cniArgs: [["A", "of the entry"]] as const,
  capabilityArgs: { mac: "of the entry" },
  result: RESULT,
};

/** Writes a file where libcni has its entry. */
async function putEntry(world: NetworkWorld, text: string): Promise<void> {
  await Deno.mkdir(`${world.cacheDir}/results`, { recursive: true });
  await Deno.writeTextFile(`${world.cacheDir}/results/web-c1-eth0`, text);
}

Deno.test("B27 STATUS and GC get no runtimeConfig and no prevResult, whatever the configuration has", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const plugin = { type: "a", capabilities: { mac: true }, runtimeConfig: { mac: "x" }, prevResult: RESULT };
  const list = listOf([], { plugins: [plugin] });
  const { signal } = new AbortController();
  await statusChain(world.runner, list, signal);
  assertEquals(await gcChain(world.runner, list, [], { timeoutMs: 10_000 }), []);
  assertEquals((await a.calls()).map(({ verb, config }) => [verb, Object.keys(config).sort()]), [
    ["STATUS", ["cniVersion", "name", "type"]],
    ["GC", ["cni.dev/attachments", "cni.dev/valid-attachments", "cniVersion", "name", "type"]],
  ]);
});

Deno.test("B28 prevResult: none for the first plugin of ADD, the previous one for the others, the last one for CHECK and DEL", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const b = await world.plugins.install("b", { ADD: { stdout: resultWith("10.1.0.3/24") } });
  const list = listOf(["a", "b"]);
  await world.attachments().add(list, world.request());
  await world.attachments().check(list, world.request());
  await world.attachments().del(list, world.request());
  const previous = async (plugin: typeof a) =>
    (await plugin.calls()).map(({ verb, config }) => [verb, config.prevResult?.ips[0].address]);
  assertEquals(await previous(a), [["ADD", undefined], ["CHECK", "10.1.0.3/24"], ["DEL", "10.1.0.3/24"]]);
  assertEquals(await previous(b), [["ADD", "10.1.0.2/24"], ["CHECK", "10.1.0.3/24"], ["DEL", "10.1.0.3/24"]]);
});

Deno.test("B31 args in the file are passed unchanged, and are never made from CNI_ARGS", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const b = await world.plugins.install("b");
  const args = { cni: { labels: [{ key: "app", value: "web" }], ips: ["10.1.0.2"] }, "vendor.example": 1 };
  const list = listOf([], { plugins: [{ type: "a", args }, { type: "b" }] });
  await world.attachments().add(list, world.request({ args: [["IP", "10.1.0.9"]] }));
  const [first] = await a.calls();
  const [second] = await b.calls();
  assertEquals([first?.config.args, "args" in second?.config], [args, false]);
});

Deno.test("D13 a list without plugins, which no file can have, runs nothing, and its DEL leaves nothing behind", async () => {
  await using world = await NetworkWorld.make();
  const list = listOf([], { plugins: undefined });
  assertEquals(await world.attachments().add(list, world.request()), { cniVersion: "1.1.0" });
  await world.attachments().del(list, world.request());
  assertEquals(await world.files(), []);
});

Deno.test("D16 a version that the plugin does not support is refused by the plugin, and then undone", async () => {
  await using world = await NetworkWorld.make();
  const stdout =
    '{"code": 1, "msg": "incompatible CNI versions", "details": "config is \\"1.1.0\\", plugin supports [\\"0.4.0\\"]"}';
  await world.plugins.install("a", { ADD: { stdout, code: 1 } });
  const error = await failing(() => world.attachments().add(listOf(["a"]), world.request()));
  assertEquals({ code: error.code, msg: error.msg }, { code: 1, msg: "incompatible CNI versions" });
  assertStringIncludes(error.message, 'plugin supports ["0.4.0"]');
  assertStringIncludes(error.context.hint ?? "", "cniVersion");
  assertEquals(await world.plugins.verbs(), ["a ADD", "a DEL"]);
});

Deno.test("D72 the error of a single configuration names the plugin too, and keeps its code", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: '{"code": 107, "msg": "no room"}', code: 1 } });
  const list = listFromPluginConfig('{"cniVersion": "1.0.0", "name": "web", "type": "a"}');
  const error = await failing(() => world.attachments().add(list, world.request()));
  assertEquals({ code: error.code, message: error.message }, {
    code: 107,
    message: 'Cannot ADD network "web", plugin "a" (1 of 1): no room',
  });
});

Deno.test("D73 A77 disableCheck in a single configuration does not prevent CHECK", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const text = '{"cniVersion": "1.0.0", "name": "web", "type": "a", "disableCheck": true}';
  await world.attachments().check(listFromPluginConfig(text), world.request());
  assertEquals(await world.plugins.verbs(), ["a CHECK"]);
});

Deno.test("E15 an entry has neither the path of the plugins, nor a time, nor podwire's own data", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const request = world.request({ args: [["A", "1"]], capabilityArgs: { x: 1 }, owner: "sandbox:c1" });
  await world.attachments().add(listOf(["a"]), request);
  const entry = JSON.parse(await Deno.readTextFile(`${world.cacheDir}/results/web-c1-eth0`));
  assertEquals(Object.keys(entry), [
    "kind",
    "containerId",
    "config",
    "ifName",
    "networkName",
    "netns",
    "cniArgs",
    "capabilityArgs",
    "result",
  ]);
});

Deno.test("E18 the result in another runtime's entry is converted to the list's version", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await world.cache.write({ ...ENTRY, result: OLD_RESULT });
  await world.attachments().check(listOf(["a"]), world.request());
  await world.attachments().del(listOf(["a"]), world.request());
  assertEquals((await a.calls()).map(({ config }) => config.prevResult), [RESULT, RESULT]);
});

Deno.test("E20 a result in an entry that cannot be converted fails CHECK, but not DEL", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const results = [
    { cniVersion: "9.9.9" },
    { cniVersion: "1.0.0", ips: [{ address: "nowhere" }] },
    { cniVersion: "0.1.0", ip4: [] },
  ];
  for (const result of results) {
    await world.cache.write({ ...ENTRY, result });
    const error = await failing(() => world.attachments().check(listOf(["a"]), world.request()));
    assertEquals({ verb: error.context.verb, network: error.context.network }, {
      verb: "CHECK",
      network: "web",
    });
    assertStringIncludes(error.msg, "the result of its ADD cannot be used: ");
    await world.attachments().del(listOf(["a"]), world.request());
    assertEquals("prevResult" in (await a.calls()).at(-1)?.config, false);
    assertEquals(await world.files(), []);
  }
  assertEquals(await world.plugins.verbs(), ["a DEL", "a DEL", "a DEL"]);
});

Deno.test("E21 an entry without a result passes no result, not an empty one", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await world.cache.write({ ...ENTRY, result: undefined });
  await world.attachments().check(listOf(["a"]), world.request());
  assertEquals("prevResult" in (await a.calls())[0]?.config, false);
});

Deno.test("E23 an entry without a readable configuration is deleted with the given configuration", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const b = await world.plugins.install("b");
  const whole = { kind: "cniCacheV1", containerId: "c1", ifName: "eth0", networkName: "web" };
  const broken = [
    JSON.stringify(RESULT),
    JSON.stringify({ ...whole, config: "***", result: RESULT }),
    JSON.stringify({ ...whole, kind: "cniCacheV2", config: btoa(ENTRY.config) }),
    JSON.stringify({ ...whole, config: btoa("{"), result: RESULT }),
    "no JSON",
  ];
  for (const text of broken) {
    await putEntry(world, text);
    await world.attachments().del(listOf(["b"]), world.request());
    assertEquals(await world.files(), [], text);
  }
  assertEquals((await world.plugins.verbs()).join(), "b DEL,b DEL,b DEL,b DEL,b DEL");
  // The old format has only a result, and that is used.
  assertEquals((await b.calls()).map(({ config }) => config.prevResult !== undefined), [
    true,
    false,
    false,
    true,
    false,
  ]);
});

Deno.test("E24 E25 an entry supplies the arguments that the caller does not give, and never the namespace", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const list = listOf([], { plugins: [{ type: "a", capabilities: { mac: true } }] });
  const given = { args: [["A", "given"]] as const, capabilityArgs: { mac: "given" } };
  for (const overrides of [{}, given]) {
    await world.cache.write({ ...ENTRY, config: list.text });
    await world.attachments().check(list, world.request(overrides));
    await world.attachments().del(list, world.request(overrides));
  }
  const calls = await a.calls();
  assertEquals(calls.map(({ env, config }) => [env.CNI_ARGS, config.runtimeConfig.mac]), [
    ["A=of the entry", "of the entry"],
    ["A=of the entry", "of the entry"],
    ["A=given", "given"],
    ["A=given", "given"],
  ]);
  // The entry does not name this namespace, so its interface may not be the attachment's.
  assertEquals(calls.map(({ verb, env }) => [verb, env.CNI_NETNS]), [
    ["CHECK", world.netns],
    ["DEL", ""],
    ["CHECK", world.netns],
    ["DEL", ""],
  ]);
});

Deno.test("E37 removing an entry that does not exist, or whose folder does not, does nothing", async () => {
  await using world = await NetworkWorld.make();
  await world.cache.remove(ENTRY);
  await world.cache.write(ENTRY);
  await world.cache.remove({ ...ENTRY, ifName: "eth1" });
  await world.cache.remove(ENTRY);
  await world.cache.remove(ENTRY);
  assertEquals(await world.files(), []);
});
