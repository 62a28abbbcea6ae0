// The runtime's end of the wire with a fake run. Tests that need real processes are in exec_process_test.ts,
// those of built-in plugins in exec_builtin_test.ts.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { type JsonObject, parseJson } from "../../lib/cni/json.ts";
import { SPEC_VERSIONS } from "../../lib/cni/version.ts";
import { Deadline } from "../../lib/plugin/deadline.ts";
import type { PluginLine } from "../../lib/plugin/exec.ts";
import type { BuiltinTable, Plugin } from "../../lib/plugin/serve.ts";
import { FakeRun } from "../fake_run.ts";
import { until } from "../until.ts";
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

const BUSY = new Error("Failed to spawn '/bin/sh': Text file busy (os error 26)");
const LATER = { code: 1, stdout: '{"code": 11, "msg": "the daemon starts"}' };
const RESULT = { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] } as const;

Deno.test("B12 B13 the plugin's environment has the given variables and the six, and nothing inherited", async () => {
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
  assertEquals({ CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS }, {
    CNI_CONTAINERID: "",
    CNI_NETNS: "",
    CNI_IFNAME: "",
    CNI_ARGS: "",
  });
});

Deno.test("B13 a given variable cannot replace one of the six, and PATH can be given", async () => {
  const run = new FakeRun([{ stdout: '{"dns": {}}' }]);
  const environment = { PATH: "/my/bin", CNI_CONTAINERID: "other", CNI_NETNS_OVERRIDE: "1" };
  await runnerOf(run, { environment }).call(callOf());
  const env = run.requests[0]?.env;
  assertEquals({
    PATH: env?.PATH,
    CNI_CONTAINERID: env?.CNI_CONTAINERID,
    CNI_NETNS_OVERRIDE: env?.CNI_NETNS_OVERRIDE,
  }, { PATH: "/my/bin", CNI_CONTAINERID: "c1", CNI_NETNS_OVERRIDE: "1" });
});

Deno.test("B22 B23 the program gets no arguments, and gets the configuration with its numbers as written", async () => {
  const run = new FakeRun();
  const config = parseJson('{"name": "web", "id": 9007199254740993, "x": 1.0}') as JsonObject;
  await runnerOf(run).call(callOf({ verb: "DEL", config }));
  const { program, args, stdin } = run.requests[0] ?? {};
  assertEquals({ program, args, stdin }, {
    program: "/bin/sh",
    args: undefined,
    stdin: '{"name":"web","id":9007199254740993,"x":1.0}',
  });
});

Deno.test("B19 with an argument that would change the meaning of CNI_ARGS no plugin is started", async () => {
  const run = new FakeRun();
  const error = await failing(() => runnerOf(run).call(callOf({ args: [["A", "1;B=2"]] })));
  assertEquals({ kind: error.kind, length: run.requests.length }, { kind: "usage", length: 0 });
});

Deno.test("B53 B54 B55 B56 ADD returns the result in the configuration's version", async () => {
  const answer = (stdout: string) => runnerOf(new FakeRun([{ stdout }])).add(callOf(), "1.0.0");
  assertEquals(await answer('{"cniVersion": "1.0.0"}'), { cniVersion: "1.0.0" });
  assertEquals(await answer('{"dns": {}}'), { cniVersion: "1.0.0" });
  const older = '{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.2/24"}]}';
  assertEquals(await answer(older), { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] });
  assertEquals((await failing(() => answer("[]"))).kind, "plugin-output");
  const unknown = await failing(() => answer('{"cniVersion": "3.0.0"}'));
  assertEquals({ kind: unknown.kind, msg: unknown.msg }, {
    kind: "plugin-output",
    msg: 'unsupported CNI result version "3.0.0"',
  });
});

Deno.test("B58 the output of other verbs than ADD does not matter after success", async () => {
  const runner = runnerOf(new FakeRun([{ stdout: "no JSON at all" }]));
  for (const verb of ["CHECK", "DEL", "GC", "STATUS"] as const) {
    assertEquals(await runner.call(callOf({ verb })), "no JSON at all");
  }
});

Deno.test("B58 an error object before exit status 0 is an error for every verb", async () => {
  const runner = runnerOf(new FakeRun([{ stdout: '{"code": 107, "msg": "I could not"}' }]));
  for (const verb of ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"] as const) {
    const error = await failing(() => runner.call(callOf({ verb })));
    assertEquals({ kind: error.kind, code: error.code, msg: error.msg }, {
      kind: "plugin",
      code: 107,
      msg: "I could not",
    }, verb);
  }
});

Deno.test("B49 each line of standard error is reported with plugin, verb and container, and is in the error", async () => {
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

Deno.test("B52 after code 11 the whole request is repeated until the plugin is ready, unlike in libcni", async () => {
  const run = new FakeRun([LATER, LATER, { stdout: '{"dns": {}}' }]);
  assertEquals(await runnerOf(run).add(callOf(), "1.1.0"), { cniVersion: "1.1.0" });
  assertEquals(run.requests.length, 3);
  assertEquals(new Set(run.requests.map(({ stdin, env }) => JSON.stringify([stdin, env]))).size, 1);
});

Deno.test("code 11 until the time limit expires gives a timeout with the last answer and the elapsed time", async () => {
  const run = new FakeRun([LATER]);
  using deadline = new Deadline(2_000);
  const error = await failing(() => runnerOf(run).call(callOf({ signal: deadline.signal })));
  assertEquals({ kind: error.kind, details: error.context.details }, {
    kind: "timeout",
    details: "last answer: the daemon starts",
  });
  assert((error.context.elapsedMs ?? 0) > 0, String(error.context.elapsedMs));
  // After 0.1, 0.2, 0.4 and 0.8 s, not continuously.
  assert(run.requests.length <= 5);
});

Deno.test("STATUS is not retried: it is about the state as it is now", async () => {
  const run = new FakeRun([LATER]);
  const error = await failing(() => runnerOf(run).call(callOf({ verb: "STATUS" })));
  assertEquals({ code: error.code, length: run.requests.length }, { code: 11, length: 1 });
});

Deno.test("B59 B61 a busy executable is started again, and a busy start is never a success", async () => {
  const run = new FakeRun([BUSY, { stdout: '{"dns": {}}' }]);
  await runnerOf(run).add(callOf(), "1.1.0");
  assertEquals(run.requests.length, 2);
  const always = new FakeRun([BUSY]);
  using deadline = new Deadline(2_000);
  const error = await failing(() => runnerOf(always).call(callOf({ verb: "DEL", signal: deadline.signal })));
  assertEquals(error.kind, "timeout");
  assertStringIncludes(error.context.details ?? "", "Text file busy");
});

Deno.test("B62 an abort ends the wait for the next try at once", async () => {
  const run = new FakeRun([LATER]);
  const outer = new AbortController();
  const pending = failing(() => runnerOf(run).call(callOf({ signal: outer.signal })));
  await until(() => run.requests.length === 1);
  outer.abort();
  assertEquals((await pending).kind, "cancelled");
  assertEquals(run.requests.length, 1);
});

Deno.test("B65 if the time limit expires before the start, no plugin is started", async () => {
  const run = new FakeRun();
  const signal = AbortSignal.abort(new CniError("timeout", "no answer within 1s"));
  assertEquals((await failing(() => runnerOf(run).call(callOf({ signal })))).kind, "timeout");
  const builtins = pluginOf(() => Promise.resolve(RESULT));
  const call = callOf({ type: "mine", signal });
  assertEquals((await failing(() => runnerOf(run, { builtins }).call(call))).kind, "timeout");
  assertEquals(run.requests.length, 0);
});

Deno.test("B43 the error of a failed start has the path and the reason, and no other error is retried", async () => {
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
    assertEquals({ kind: error.kind, length: run.requests.length }, { kind, length: 1 });
    assertStringIncludes(error.message + error.context.hint, "/bin/sh");
  }
});
