// Built-in plugins and delegates, at the runtime's end of the wire.
import { assert, assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { ALWAYS_BUILTIN } from "../../lib/plugin/locate.ts";
import { runWithContainerId } from "../../lib/plugin/run_with_container_id.ts";
import type { BuiltinTable, Plugin, PluginRequest } from "../../lib/plugin/serve.ts";
import { FakeRun, outcome, type ScriptedOutcome } from "../fake_run.ts";
import { callOf, runnerOf } from "./fake_runner.ts";
import { failing } from "./plugin_call.ts";

function pluginOf(add: NonNullable<Plugin["verbs"]["ADD"]>): BuiltinTable {
  return {
    mine: {
      about: "CNI plugin mine",
      versions: SPEC_VERSIONS,
      verbs: { ADD: add, DEL: async (request) => void await add(request) },
    },
  };
}

const RESULT = { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] } as const;

Deno.test("a built-in runs in place of a missing executable, is preferred, or is off", async () => {
  const builtins = {
    sh: pluginOf(() => Promise.resolve(RESULT)).mine!,
    ...pluginOf(() => Promise.resolve(RESULT)),
  };
  const kindOf = async (type: string, builtinPolicy?: "fallback" | "prefer" | "off", config?: JsonObject) => {
    const runner = runnerOf(new FakeRun(), { builtins, ...(builtinPolicy && { builtinPolicy }) });
    return (await runner.locate(type, config)).kind;
  };
  assertEquals([await kindOf("sh"), await kindOf("mine")], ["binary", "builtin"]);
  assertEquals([await kindOf("sh", "prefer"), await kindOf("mine", "prefer")], ["builtin", "builtin"]);
  assertEquals(await kindOf("sh", "off"), "binary");
  const always = { [ALWAYS_BUILTIN]: true };
  assertEquals(await kindOf("sh", "fallback", always), "builtin");
  assertEquals(await kindOf("sh", "off", always), "binary");
  assertEquals(await kindOf("sh", "fallback", { [ALWAYS_BUILTIN]: "yes" }), "binary");
  const error = await failing(() => kindOf("mine", "off"));
  assertEquals({ kind: error.kind, msg: error.msg }, {
    kind: "plugin-missing",
    msg: 'failed to find plugin "mine" in path [/bin /opt/mine/bin]',
  });
  assertEquals((await failing(() => kindOf("toString"))).kind, "plugin-missing");
});

Deno.test("a built-in gets the same input as an executable, and answers in the same way", async () => {
  let seen: PluginRequest | undefined;
  const lines: string[] = [];
  const builtins = pluginOf((request) => {
    seen = request;
    request.log("working");
    return Promise.resolve(RESULT);
  });
  const runner = runnerOf(new FakeRun(), { builtins, onStderrLine: ({ line }) => lines.push(line) });
  const config = { name: "web", cniVersion: "0.4.0", type: "mine" };
  const result = await runner.add(callOf({ type: "mine", config, args: [["IP", "10.1.0.9"]] }), "0.4.0");
  assertEquals(result, { cniVersion: "0.4.0", ips: [{ version: "4", address: "10.1.0.2/24" }], dns: {} });
  assertEquals([seen?.containerId, seen?.args.get("IP"), seen?.path], ["c1", "10.1.0.9", [
    "/bin",
    "/opt/mine/bin",
  ]]);
  assertEquals(lines, ["working"]);
});

Deno.test("an error of a built-in keeps its code, and a defect in it has code 999", async () => {
  const failWith = (error: unknown) => {
    const builtins = pluginOf(() => Promise.reject(error));
    return failing(() => runnerOf(new FakeRun(), { builtins }).add(callOf({ type: "mine" }), "1.1.0"));
  };
  const refused = await failWith(new CniError("plugin", "no room", { code: 120, details: "full" }));
  assertEquals(
    { kind: refused.kind, code: refused.code, msg: refused.msg, details: refused.context.details },
    { kind: "plugin", code: 120, msg: "no room", details: "full" },
  );
  assertEquals((await failWith(new TypeError("oh"))).code, 999);
});

Deno.test("a command of a built-in has the container ID in its environment and is found on the plugins' PATH", async () => {
  const run = new FakeRun();
  const builtins = pluginOf(async (request) => {
    await request.run({ program: "ip" });
    await request.run({ program: "ip", env: { PATH: "/own" } });
    return RESULT;
  });
  await runnerOf(run, { builtins, environment: { PATH: "/my/bin" } }).add(callOf({ type: "mine" }), "1.1.0");
  assertEquals(run.requests.map(({ env }) => env), [
    { PATH: "/my/bin", LC_ALL: "C", CNI_CONTAINERID: "c1" },
    { PATH: "/own", LC_ALL: "C", CNI_CONTAINERID: "c1" },
  ]);
});

Deno.test("the runtime stops waiting for a built-in some seconds after the signal, and at once for one that ends", async () => {
  /** How it ends if its time limit expires as soon as it has begun, and how long after. */
  const outOfTime = async (work: (signal: AbortSignal) => Promise<never>) => {
    const stop = new AbortController();
    let begun = NaN;
    const builtins = pluginOf(({ signal }) => {
      const working = work(signal);
      begun = performance.now();
      stop.abort(new CniError("timeout", "no answer"));
      return working;
    });
    const call = callOf({ type: "mine", signal: stop.signal });
    const { kind, context } = await failing(() => runnerOf(new FakeRun(), { builtins }).call(call));
    assertEquals({ kind, exitCode: context.exitCode }, { kind: "timeout", exitCode: undefined });
    return performance.now() - begun;
  };
  const obeyed = await outOfTime((signal) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
  );
  const givenUp = await outOfTime(() => new Promise(() => {}));
  assert(givenUp >= 1_000 && givenUp < 60_000 && obeyed < givenUp, `${obeyed} ms, ${givenUp} ms`);
});

Deno.test("B83 a delegate gets the same values and its own configuration; ADD returns its result as 1.1.0", async () => {
  const older = { stdout: '{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.2/24"}]}' };
  const run = new FakeRun([older]);
  const seen: unknown[] = [];
  const builtins = pluginOf(async ({ delegate, config, verb }) => {
    seen.push(await delegate("sh", { ...config, type: "sh" }));
    if (verb === "ADD") seen.push(await delegate("sh", config, "DEL"));
    return RESULT;
  });
  const config = { name: "web", cniVersion: "0.4.0", type: "mine" };
  await runnerOf(run, { builtins }).add(callOf({ type: "mine", config }), "0.4.0");
  assertEquals(seen, [{ cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] }, undefined]);
  const [first, second] = run.requests;
  assertEquals([first?.env?.CNI_COMMAND, second?.env?.CNI_COMMAND], ["ADD", "DEL"]);
  assertEquals({ CNI_CONTAINERID: first?.env?.CNI_CONTAINERID, CNI_NETNS: first?.env?.CNI_NETNS }, {
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c1",
  });
  assertEquals(JSON.parse(first?.stdin ?? ""), { name: "web", cniVersion: "0.4.0", type: "sh" });
});

Deno.test("an error of a delegate reaches the caller of the plugin with its code", async () => {
  const run = new FakeRun([{ code: 1, stdout: '{"code": 107, "msg": "no address left"}' }]);
  const builtins = pluginOf(async ({ delegate, config }) => {
    await delegate("sh", config);
    return RESULT;
  });
  const error = await failing(() => runnerOf(run, { builtins }).add(callOf({ type: "mine" }), "1.1.0"));
  assertEquals({ code: error.code, msg: error.msg }, { code: 107, msg: "no address left" });
});

Deno.test("runWithContainerId() keeps the environment of the request", async () => {
  const run = new FakeRun((): ScriptedOutcome => outcome());
  await runWithContainerId(run.run, "c9")({ program: "ip", args: ["link"], env: { LC_ALL: "de", A: "1" } });
  const { program, args, env } = run.requests[0] ?? {};
  assertEquals({ program, args, LC_ALL: env?.LC_ALL, A: env?.A, CNI_CONTAINERID: env?.CNI_CONTAINERID }, {
    program: "ip",
    args: ["link"],
    LC_ALL: "de",
    A: "1",
    CNI_CONTAINERID: "c9",
  });
});
