import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { NetworkConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { PluginRunner, type PluginRunnerOptions } from "../../lib/plugin/exec.ts";
import type { Plugin } from "../../lib/plugin/serve.ts";
import { VersionProbe } from "../../lib/plugin/versions.ts";
import { type NetworkAnswer, probeNetwork, STATUS_REASONS } from "../../lib/readiness/status.ts";
import { listOf, NetworkWorld } from "../attachment/world.ts";
import type { Answer } from "../recording_plugin.ts";

const refusal = (code: number, msg: string): Answer => ({ stdout: JSON.stringify({ code, msg }), code: 1 });
const supports = (...versions: string[]): Answer => ({
  stdout: JSON.stringify({ cniVersion: "1.0.0", supportedVersions: versions }),
});

/** The answer of `list` in this world, to a process that was just started. */
async function ask(
  world: NetworkWorld,
  list: NetworkConfigList,
  { signal, timeoutMs = 5_000, ...more }: Partial<PluginRunnerOptions> & {
    signal?: AbortSignal;
    timeoutMs?: number;
  } = {},
): Promise<NetworkAnswer> {
  const runner = new PluginRunner({ pluginDirs: [world.plugins.dir], ...more });
  return await probeNetwork(list, { runner, probe: new VersionProbe(runner, 5_000), timeoutMs, signal });
}

const inShort = ({ ready, reason }: NetworkAnswer) => [ready, reason];

Deno.test("D51 F110 a network is ready if all of its plugins are installed, support its version and answer that they are ready", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b");
  const answer = await ask(world, listOf(["a", "b"]));
  assertEquals(answer, { ready: true, reason: undefined, msg: undefined, error: undefined });
  assertEquals(await world.plugins.verbs(), ["a VERSION", "b VERSION", "a STATUS", "b STATUS"]);
});

Deno.test("D51 the first plugin that is not ready decides, and its error code gives the reason", async () => {
  const cases = [
    [50, "plugin-not-ready"],
    [51, "limited-connectivity"],
    [1, "version-mismatch"],
    [
      7,
      "plugin-failed",
    ],
    [11, "plugin-failed"],
    [999, "plugin-failed"],
  ] as const;
  for (const [code, reason] of cases) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a");
    await world.plugins.install("b", { STATUS: refusal(code, "the daemon is away") });
    await world.plugins.install("c", { STATUS: refusal(51, "never asked") });
    const answer = await ask(world, listOf(["a", "b", "c"]));
    assertEquals(inShort(answer), [false, reason], `code ${code}`);
    assertEquals(answer.error?.code, code);
    assertEquals(answer.msg, 'Cannot STATUS network "web", plugin "b" (2 of 3): the daemon is away');
    assertEquals((await world.plugins.verbs()).slice(3), ["a STATUS", "b STATUS"]);
  }
});

Deno.test("a plugin that crashes, prints invalid output or cannot be started gives plugin-failed", async () => {
  const cases: readonly Answer[] = [{ code: 3 }, { stdout: "hello", code: 1 }, { signal: "KILL" }];
  for (const STATUS of cases) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a", { STATUS });
    assertEquals(inShort(await ask(world, listOf(["a"]))), [false, "plugin-failed"]);
  }
  await using world = await NetworkWorld.make();
  await Deno.writeTextFile(`${world.plugins.dir}/a`, "no program", { mode: 0o755 });
  assertEquals(inShort(await ask(world, listOf(["a"]))), [false, "plugin-failed"]);
});

Deno.test("a plugin that does not answer to STATUS or VERSION in time gives timeout", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { STATUS: { hang: true } });
  const late = await ask(world, listOf(["a"]), { timeoutMs: 1_000 });
  assertEquals(inShort(late), [false, "timeout"]);
  assertStringIncludes(late.msg ?? "", 'plugin "a" (1 of 1): no answer within 1s');
  await a.answer("VERSION", { hang: true });
  const runner = new PluginRunner({ pluginDirs: [world.plugins.dir] });
  const options = { runner, probe: new VersionProbe(runner, 500), timeoutMs: 5_000 };
  const silent = await probeNetwork(listOf(["a"]), options);
  assertEquals([...inShort(silent), silent.error?.context.verb], [false, "timeout", "VERSION"]);
});

Deno.test("F21 D52 all plugins have to be installed before one is asked, in a list of any version", async () => {
  for (const cniVersion of ["0.3.1", "1.0.0", "1.1.0"]) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a", { STATUS: refusal(50, "never asked") });
    const answer = await ask(world, listOf(["a", "absent"], { cniVersion }));
    assertEquals(inShort(answer), [false, "plugin-missing"]);
    assertStringIncludes(
      answer.msg ?? "",
      'plugin "absent" (2 of 2): failed to find plugin "absent" in path',
    );
    assertEquals(await world.plugins.verbs(), []);
  }
});

Deno.test("F21 the IPAM plugin has to be installed too, and to support the version", async () => {
  for (const cniVersion of ["1.0.0", "1.1.0"]) {
    await using world = await NetworkWorld.make();
    await world.plugins.install("a");
    const list = listOf([], { cniVersion, plugins: [{ type: "a", ipam: { type: "pool" } }] });
    const missing = await ask(world, list);
    assertEquals(inShort(missing), [false, "plugin-missing"]);
    assertStringIncludes(missing.msg ?? "", 'plugin "a" (1 of 1): failed to find plugin "pool" in path');
    assertStringIncludes(missing.msg ?? "", '"a" needs it for its "ipam"');
    const pool = await world.plugins.install("pool", { VERSION: supports("0.4.0") });
    const old = await ask(world, list);
    assertEquals(inShort(old), [false, "version-mismatch"]);
    assertStringIncludes(old.msg ?? "", `plugin pool does not support config version "${cniVersion}"`);
    await pool.answer("VERSION", supports(cniVersion));
    assertEquals(inShort(await ask(world, list)), [true, undefined]);
    assertEquals((await pool.calls()).map(({ verb }) => verb), ["VERSION", "VERSION"]);
  }
});

Deno.test("an executable cannot use a built-in IPAM plugin; a built-in plugin can", async () => {
  const plugin: Plugin = { about: "test", versions: ["1.0.0"], verbs: {} };
  await using world = await NetworkWorld.make();
  const builtins = { bridge: plugin, pool: plugin };
  const listWith = (type: string) =>
    listOf([], { cniVersion: "1.0.0", plugins: [{ type, ipam: { type: "pool" } }] });
  assertEquals(inShort(await ask(world, listWith("bridge"), { builtins })), [true, undefined]);
  await world.plugins.install("a");
  assertEquals(inShort(await ask(world, listWith("a"), { builtins })), [false, "plugin-missing"]);
  await world.plugins.install("pool");
  for (const builtinPolicy of ["prefer", "fallback", "off"] as const) {
    const answer = await ask(world, listWith("a"), { builtins, builtinPolicy });
    assertEquals(inShort(answer), [true, undefined], builtinPolicy);
  }
});

Deno.test("F21 F111 D50 a list below 1.1.0 is ready if its plugins support the version, and none of them gets STATUS", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { STATUS: refusal(50, "never asked") });
  const list = listOf(["a"], { cniVersion: "0.4.0" });
  const answer = await ask(world, list);
  assertEquals(answer, {
    ready: true,
    reason: undefined,
    msg: "version 0.4.0 has no STATUS; its plugins are there and support it",
    error: undefined,
  });
  await a.answer("VERSION", supports("0.3.1", "1.0.0"));
  const old = await ask(world, list);
  assertEquals(inShort(old), [false, "version-mismatch"]);
  assertStringIncludes(
    old.msg ?? "",
    'plugin a does not support config version "0.4.0"; it supports 0.3.1, 1.0.0',
  );
  assertEquals(await world.plugins.verbs(), ["a VERSION", "a VERSION"]);
});

Deno.test("D76 plugins without a common version are a mismatch; a common version is used", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: supports("1.0.0", "1.1.0"), STATUS: refusal(50, "away") });
  const b = await world.plugins.install("b", { VERSION: supports("1.0.0") });
  const list = listOf(["a", "b"], { cniVersions: ["1.0.0", "1.1.0"] });
  const answer = await ask(world, list);
  assertEquals([answer.ready, answer.msg?.slice(0, 31)], [true, "version 1.0.0 has no STATUS; it"]);
  await b.answer("VERSION", supports("0.4.0"));
  assertEquals(inShort(await ask(world, list)), [false, "version-mismatch"]);
});

Deno.test("F24 a repeated check does not ask for versions again until the executable changes", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const { runner } = world;
  const options = { runner, probe: new VersionProbe(runner), timeoutMs: 5_000 };
  for (let round = 0; round < 3; round++) assert((await probeNetwork(listOf(["a"]), options)).ready);
  assertEquals(await world.plugins.verbs(), ["a VERSION", "a STATUS", "a STATUS", "a STATUS"]);
  await Deno.remove(`${world.plugins.dir}/a`);
  assertEquals(inShort(await probeNetwork(listOf(["a"]), options)), [false, "plugin-missing"]);
});

Deno.test("F24 many networks that need the versions of one plugin at the same time run it once", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { VERSION: { ...supports("1.0.0"), sleep: 0.3 } });
  const { runner } = world;
  const options = { runner, probe: new VersionProbe(runner), timeoutMs: 5_000 };
  const lists = Array.from({ length: 20 }, (_, n) => listOf(["a"], { name: `net${n}`, cniVersion: "1.0.0" }));
  const answers = await Promise.all(lists.map((list) => probeNetwork(list, options)));
  assertEquals(answers.filter(({ ready }) => ready).length, 20);
  assertEquals(await world.plugins.verbs(), ["a VERSION"]);
});

Deno.test("a signal of the caller throws and says nothing about the network", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { STATUS: { hang: true } });
  for (
    const [signal, kind] of [[AbortSignal.abort(), "cancelled"], [
      AbortSignal.timeout(500),
      "timeout",
    ]] as const
  ) {
    const error = await assertRejects(() => ask(world, listOf(["a"]), { signal }), CniError);
    assertEquals(error.kind, kind);
  }
});

Deno.test("the reasons are part of the contract", () => {
  assertEquals([...STATUS_REASONS], [
    "no-config",
    "invalid-config",
    "plugin-missing",
    "version-mismatch",
    "plugin-not-ready",
    "limited-connectivity",
    "timeout",
    "plugin-failed",
    "pending",
  ]);
});
