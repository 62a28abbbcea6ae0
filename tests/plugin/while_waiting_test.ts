// What is told of a plugin that is waited for.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import type { BuiltinTable, Plugin } from "../../lib/plugin/serve.ts";
import { type PluginWait, whileWaiting } from "../../lib/plugin/while_waiting.ts";
import { SPEC_VERSIONS } from "../../lib/spec/version.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { callOf, failing } from "./plugin_call.ts";

const PACE = { firstMs: 200, everyMs: 400 };

/** A runner that gathers what it is told. */
function waitingRunner(pluginDir: string, builtins: BuiltinTable = {}) {
  const waits: PluginWait[] = [];
  const onWait = (wait: PluginWait) => void waits.push(wait);
  const runner = new PluginRunner({ pluginDirs: [pluginDir], builtins, onWait, waitPace: PACE });
  return { runner, waits };
}

/** Each came no earlier than its turn. */
function assertPaced(waits: readonly { readonly ms: number }[]): void {
  for (const [index, { ms }] of waits.entries()) {
    assert(
      ms >= PACE.firstMs + index * PACE.everyMs - index - 1,
      `${ms} is too early for the ${index + 1}th`,
    );
  }
}

Deno.test("what goes on is told of again and again, and what is over is not", async () => {
  const told: { ms: number }[] = [];
  const tell = (ms: number) => void told.push({ ms });
  const pause = (ms: number) => new Promise<string>((resolve) => setTimeout(() => resolve("done"), ms));
  assertEquals(await whileWaiting(() => pause(1_300), tell, PACE), "done");
  assert(told.length >= 2, `told ${told.length} times`);
  assertPaced(told);
  const before = told.length;
  assertEquals(
    await whileWaiting(() => Promise.resolve("at once"), tell, { firstMs: 50, everyMs: 50 }),
    "at once",
  );
  await assertRejects(
    () => whileWaiting(() => Promise.reject(new Error("no")), tell, { firstMs: 50, everyMs: 50 }),
    Error,
    "no",
  );
  await pause(200);
  assertEquals(told.length, before);
});

Deno.test("B52 a plugin that hangs, or says that it is to be asked later, is told of while it is waited for", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net", { DEL: { hang: true } });
  const { runner, waits } = waitingRunner(plugins.dir);
  const wait = { plugin: "net", verb: "DEL", network: "web", containerId: "c1" } as const;
  const call = () => callOf({ verb: "DEL", signal: AbortSignal.timeout(2_000) });
  assertEquals((await failing(() => runner.call(call()))).kind, "timeout");
  assert(waits.length >= 2, JSON.stringify(waits));
  assertPaced(waits);
  for (const { ms, ...told } of waits.splice(0)) assertEquals([told, ms > 0], [wait, true]);

  await net.answer("DEL", { stdout: '{"code": 11, "msg": "the daemon starts"}', code: 1 });
  assertEquals((await failing(() => runner.call(call()))).kind, "timeout");
  assert(waits.length >= 2, JSON.stringify(waits));
  for (const { ms: _, ...told } of waits.splice(0)) {
    assertEquals(told, { ...wait, answer: "the daemon starts" });
  }
});

Deno.test("nobody is told of plugins that answer, nor of questions how they are", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("net", { STATUS: { sleep: 1 } });
  const { runner, waits } = waitingRunner(plugins.dir);
  await runner.call(callOf({ verb: "DEL" }));
  await runner.call(callOf({ verb: "STATUS" }));
  assertEquals(waits, []);
});

Deno.test("of a plugin that waits for another one is told, of the other one not as well", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("ipam", { ADD: { sleep: 1 } });
  const outer: Plugin = {
    about: "CNI plugin outer",
    versions: SPEC_VERSIONS,
    verbs: {
      ADD: async ({ config, delegate }) => {
        const { ips } = await delegate("ipam", config) ?? {};
        return { cniVersion: "1.1.0", ...(ips && { ips }) };
      },
      DEL: () => Promise.resolve(),
    },
  };
  const { runner, waits } = waitingRunner(plugins.dir, { outer });
  await runner.call(callOf({ type: "outer" }));
  assert(waits.length >= 1);
  assertEquals(new Set(waits.map(({ plugin }) => plugin)), new Set(["outer"]));
});
