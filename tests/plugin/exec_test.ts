// The runtime's end of the wire over a fake run and over built-ins. What needs real processes is in
// exec_process_test.ts.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ALWAYS_BUILTIN } from "../../lib/plugin/locate.ts";
import type { PluginCall } from "../../lib/plugin/call.ts";
import { type PluginLine, PluginRunner, type PluginRunnerOptions } from "../../lib/plugin/exec.ts";
import { runWithContainerId } from "../../lib/plugin/run_with_container_id.ts";
import { Deadline } from "../../lib/plugin/deadline.ts";
import type { BuiltinTable, Plugin, PluginRequest } from "../../lib/plugin/serve.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type JsonObject, parseJson } from "../../lib/cni/json.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { FakeRun, outcome, type ScriptedOutcome } from "../fake_run.ts";
import { until } from "../until.ts";
import { callOf as callOfAny, failing } from "./plugin_call.ts";

/** `sh` is on every machine, and is what would be run: the fake runs nothing. */
const DIRS = ["/bin"];

function callOf(overrides: Partial<PluginCall> = {}): PluginCall {
  return callOfAny({ type: "sh", ...overrides });
}

function runnerOf(run: FakeRun, options: Partial<PluginRunnerOptions> = {}): PluginRunner {
  return new PluginRunner({ pluginDirs: DIRS, run: run.run, ...options });
}

function pluginOf(add: NonNullable<Plugin["verbs"]["ADD"]>): BuiltinTable {
  return {
    mine: {
      about: "CNI plugin mine",
      versions: SPEC_VERSIONS,
      verbs: { ADD: add, DEL: async (request) => void await add(request) },
    },
  };
}

const BUSY = new Error("Failed to spawn '/bin/sh': Text file busy (os error 26)");
const LATER = { code: 1, stdout: '{"code": 11, "msg": "the daemon starts"}' };
const RESULT = { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] } as const;

Deno.test("B12 B13 the plugin's environment is the allow-list and the six variables, nothing inherited", async () => {
  const run = new FakeRun([{ stdout: '{"dns": {}}' }]);
  const runner = runnerOf(run, { environment: { LANG: "de_AT.UTF-8", HTTP_PROXY: "http://proxy" } });
  await runner.add(callOf({ args: [["IgnoreUnknown", "1"]] }), "1.1.0");
  await runner.call(callOf({ verb: "STATUS", containerId: "", netns: "", ifName: "" }));
  assertEquals(run.requests[0]?.env, {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LANG: "de_AT.UTF-8",
    HTTP_PROXY: "http://proxy",
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c1",
    CNI_IFNAME: "eth0",
    CNI_ARGS: "IgnoreUnknown=1",
    CNI_PATH: "/bin:/opt/sh/bin",
  });
  const { CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS } = run.requests[1]?.env ?? {};
  assertEquals([CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS], ["", "", "", ""]);
});

Deno.test("B13 an allowed variable cannot replace one of the six, and PATH can be given", async () => {
  const run = new FakeRun([{ stdout: '{"dns": {}}' }]);
  const environment = { PATH: "/my/bin", CNI_CONTAINERID: "other", CNI_NETNS_OVERRIDE: "1" };
  await runnerOf(run, { environment }).call(callOf());
  const env = run.requests[0]?.env;
  assertEquals([env?.PATH, env?.CNI_CONTAINERID, env?.CNI_NETNS_OVERRIDE], ["/my/bin", "c1", "1"]);
});

Deno.test("B22 B23 the program gets no arguments, and the configuration with its numbers as written", async () => {
  const run = new FakeRun();
  const config = parseJson('{"name": "web", "id": 9007199254740993, "x": 1.0}') as JsonObject;
  await runnerOf(run).call(callOf({ verb: "DEL", config }));
  const { program, args, stdin } = run.requests[0] ?? {};
  assertEquals([program, args, stdin], [
    "/bin/sh",
    undefined,
    '{"name":"web","id":9007199254740993,"x":1.0}',
  ]);
});

Deno.test("B19 an argument that would change the meaning of CNI_ARGS starts nothing", async () => {
  const run = new FakeRun();
  const error = await failing(() => runnerOf(run).call(callOf({ args: [["A", "1;B=2"]] })));
  assertEquals([error.kind, run.requests.length], ["usage", 0]);
});

Deno.test("B53 B54 B55 B56 ADD gives the document in the configuration's version", async () => {
  const answer = (stdout: string) => runnerOf(new FakeRun([{ stdout }])).add(callOf(), "1.0.0");
  assertEquals(await answer('{"cniVersion": "1.0.0"}'), { cniVersion: "1.0.0" });
  assertEquals(await answer('{"dns": {}}'), { cniVersion: "1.0.0" });
  const older = '{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.2/24"}]}';
  assertEquals(await answer(older), { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] });
  assertEquals((await failing(() => answer("[]"))).kind, "plugin-output");
  const unknown = await failing(() => answer('{"cniVersion": "3.0.0"}'));
  assertEquals([unknown.kind, unknown.msg], ["plugin-output", 'unsupported CNI result version "3.0.0"']);
});

Deno.test("B58 what the other verbs print after success does not matter", async () => {
  const runner = runnerOf(new FakeRun([{ stdout: "no JSON at all" }]));
  for (const verb of ["CHECK", "DEL", "GC", "STATUS"] as const) {
    assertEquals(await runner.call(callOf({ verb })), "no JSON at all");
  }
});

Deno.test("B58 but an error object that they print before exit status 0 is their answer, whatever the verb", async () => {
  const runner = runnerOf(new FakeRun([{ stdout: '{"code": 107, "msg": "I could not"}' }]));
  for (const verb of ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"] as const) {
    const error = await failing(() => runner.call(callOf({ verb })));
    assertEquals([error.kind, error.code, error.msg], ["plugin", 107, "I could not"], verb);
  }
});

Deno.test("B49 each line of standard error is told with plugin, verb and container, and stands in the error", async () => {
  const lines: PluginLine[] = [];
  const run = new FakeRun([{ code: 1, stdout: '{"code": 107, "msg": "no"}', stderr: "one\ntwo\n" }]);
  const runner = runnerOf(run, { onStderrLine: (line) => lines.push(line) });
  const error = await failing(() => runner.call(callOf()));
  assertEquals(error.context.stderr, "one\ntwo");
  assertEquals(lines, [
    { plugin: "sh", verb: "ADD", containerId: "c1", line: "one" },
    { plugin: "sh", verb: "ADD", containerId: "c1", line: "two" },
  ]);
});

Deno.test("B52 code 11 is asked again, unlike in libcni, with the whole request, until the plugin is ready", async () => {
  const run = new FakeRun([LATER, LATER, { stdout: '{"dns": {}}' }]);
  assertEquals(await runnerOf(run).add(callOf(), "1.1.0"), { cniVersion: "1.1.0" });
  assertEquals(run.requests.length, 3);
  assertEquals(new Set(run.requests.map(({ stdin, env }) => JSON.stringify([stdin, env]))).size, 1);
});

Deno.test("code 11 until the time is up: a timeout that tells the last answer and the time it took", async () => {
  const run = new FakeRun([LATER]);
  using deadline = new Deadline(2_000);
  const error = await failing(() => runnerOf(run).call(callOf({ signal: deadline.signal })));
  assertEquals([error.kind, error.context.details], ["timeout", "last answer: the daemon starts"]);
  assert((error.context.elapsedMs ?? 0) > 0, String(error.context.elapsedMs));
  // After 0.1, 0.2, 0.4 and 0.8 s, not all the time.
  assert(run.requests.length <= 5);
});

Deno.test("STATUS is not asked again: it is about now", async () => {
  const run = new FakeRun([LATER]);
  const error = await failing(() => runnerOf(run).call(callOf({ verb: "STATUS" })));
  assertEquals([error.code, run.requests.length], [11, 1]);
});

Deno.test("B59 B61 a busy executable is started again, and no busy start passes for success", async () => {
  const run = new FakeRun([BUSY, { stdout: '{"dns": {}}' }]);
  await runnerOf(run).add(callOf(), "1.1.0");
  assertEquals(run.requests.length, 2);
  const always = new FakeRun([BUSY]);
  using deadline = new Deadline(2_000);
  const error = await failing(() => runnerOf(always).call(callOf({ verb: "DEL", signal: deadline.signal })));
  assertEquals(error.kind, "timeout");
  assertStringIncludes(error.context.details ?? "", "Text file busy");
});

Deno.test("B62 cancelling ends the wait for the next try at once", async () => {
  const run = new FakeRun([LATER]);
  const outer = new AbortController();
  const pending = failing(() => runnerOf(run).call(callOf({ signal: outer.signal })));
  await until(() => run.requests.length === 1);
  outer.abort();
  assertEquals((await pending).kind, "cancelled");
  assertEquals(run.requests.length, 1);
});

Deno.test("B65 when the time is up before the start, nothing is started", async () => {
  const run = new FakeRun();
  const signal = AbortSignal.abort(new CniError("timeout", "no answer within 1s"));
  assertEquals((await failing(() => runnerOf(run).call(callOf({ signal })))).kind, "timeout");
  const builtins = pluginOf(() => Promise.resolve(RESULT));
  const call = callOf({ type: "mine", signal });
  assertEquals((await failing(() => runnerOf(run, { builtins }).call(call))).kind, "timeout");
  assertEquals(run.requests.length, 0);
});

Deno.test("B43 a failing start tells the path and the reason, and no other error is retried", async () => {
  const starts: readonly [Error, string][] = [
    [new Deno.errors.PermissionDenied("Permission denied (os error 13)"), "plugin-start"],
    [new Deno.errors.NotFound("No such file (os error 2)"), "plugin-start"],
    [new Error("Exec format error (os error 8)"), "plugin-start"],
    [
      new Deno.errors.NotCapable('Requires run access to "/bin/sh", run again with the --allow-run flag'),
      "permission",
    ],
  ];
  for (const [thrown, kind] of starts) {
    const run = new FakeRun([thrown]);
    const error = await failing(() => runnerOf(run).call(callOf()));
    assertEquals([error.kind, run.requests.length], [kind, 1]);
    assertStringIncludes(error.message + error.context.hint, "/bin/sh");
  }
});

Deno.test("a built-in stands in for a missing executable, is preferred, or is off", async () => {
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
  assertEquals([error.kind, error.msg], [
    "plugin-missing",
    'failed to find plugin "mine" in path [/bin /opt/mine/bin]',
  ]);
  assertEquals((await failing(() => kindOf("toString"))).kind, "plugin-missing");
});

Deno.test("a built-in gets what an executable would, and answers in the same way", async () => {
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

Deno.test("a built-in's error comes with its code, and a defect in it with code 999", async () => {
  const failWith = (error: unknown) => {
    const builtins = pluginOf(() => Promise.reject(error));
    return failing(() => runnerOf(new FakeRun(), { builtins }).add(callOf({ type: "mine" }), "1.1.0"));
  };
  const refused = await failWith(new CniError("plugin", "no room", { code: 120, details: "full" }));
  assertEquals([refused.kind, refused.code, refused.msg, refused.context.details], [
    "plugin",
    120,
    "no room",
    "full",
  ]);
  assertEquals((await failWith(new TypeError("oh"))).code, 999);
});

Deno.test("what a built-in runs is marked with the container and found on the plugins' PATH", async () => {
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

Deno.test("a built-in that never ends is given up some seconds after the signal, one that obeys at once", async () => {
  /** How it ends when its time is up as soon as it has begun, and how long after. */
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
    assertEquals([kind, context.exitCode], ["timeout", undefined]);
    return performance.now() - begun;
  };
  const obeyed = await outOfTime((signal) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
  );
  const givenUp = await outOfTime(() => new Promise(() => {}));
  assert(givenUp >= 1_000 && givenUp < 60_000 && obeyed < givenUp, `${obeyed} ms, ${givenUp} ms`);
});

Deno.test("B83 a delegate gets the same values and its own configuration; ADD gives its result as 1.1.0", async () => {
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
  assertEquals([first?.env?.CNI_CONTAINERID, first?.env?.CNI_NETNS], ["c1", "/run/netns/c1"]);
  assertEquals(JSON.parse(first?.stdin ?? ""), { name: "web", cniVersion: "0.4.0", type: "sh" });
});

Deno.test("a delegate's error reaches the caller of the plugin with its code", async () => {
  const run = new FakeRun([{ code: 1, stdout: '{"code": 107, "msg": "no address left"}' }]);
  const builtins = pluginOf(async ({ delegate, config }) => {
    await delegate("sh", config);
    return RESULT;
  });
  const error = await failing(() => runnerOf(run, { builtins }).add(callOf({ type: "mine" }), "1.1.0"));
  assertEquals([error.code, error.msg], [107, "no address left"]);
});

Deno.test("a marked run keeps what the request says of its environment", async () => {
  const run = new FakeRun((): ScriptedOutcome => outcome());
  await runWithContainerId(run.run, "c9")({ program: "ip", args: ["link"], env: { LC_ALL: "de", A: "1" } });
  const { program, args, env } = run.requests[0] ?? {};
  assertEquals([program, args, env?.LC_ALL, env?.A, env?.CNI_CONTAINERID], ["ip", ["link"], "de", "1", "c9"]);
});
