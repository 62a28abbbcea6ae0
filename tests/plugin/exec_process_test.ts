// The runtime's end of the wire over real processes: the recording plugin.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { statOf } from "../../lib/host/file.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import { findByEnvironment } from "../processes.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { deadlineOnce } from "../until.ts";
import { callOf, failing, runnerOf } from "./plugin_call.ts";

/** Whether the plugin `net` has started and can be ended. */
const isReady = (plugins: PluginFolder) => async () =>
  await statOf(`${plugins.dir}/net.d/ready`) !== undefined;

/** Waits until no plugin of the container runs any more. */
async function assertNoneLeft(containerId: string): Promise<void> {
  assertEquals(await findByEnvironment(`CNI_CONTAINERID=${containerId}`), []);
}

Deno.test("B12 B13 B23 a real plugin sees exactly the allowed environment and the whole input", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net", { ADD: { stdout: '{"ips": [{"address": "10.1.0.2/24"}]}' } });
  const runner = runnerOf(plugins, { environment: { TZ: "Europe/Vienna" } });
  const result = await runner.add(callOf({ args: [["IgnoreUnknown", "1"], ["IP", "10.1.0.2"]] }), "1.1.0");
  assertEquals(result, { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] });
  const [call] = await net.calls();
  assertEquals(call?.env, {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    TZ: "Europe/Vienna",
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c1",
    CNI_IFNAME: "eth0",
    CNI_ARGS: "IgnoreUnknown=1;IP=10.1.0.2",
    CNI_PATH: `${plugins.dir}:/opt/net/bin`,
  });
  assertEquals(call?.stdin, '{"name":"web","cniVersion":"1.1.0","type":"net"}');
});

Deno.test("B38 a plugin that does not read its input succeeds, also if the input is larger than a pipe", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("net", { DEL: { unread: true } });
  const config = { name: "web", cniVersion: "1.1.0", type: "net", pad: "x".repeat(300_000) };
  assertEquals(await runnerOf(plugins).call(callOf({ verb: "DEL", config })), "");
});

Deno.test("B41 B44 B49 lines of standard error are reported while the plugin runs, before success and failure", async () => {
  await using plugins = await PluginFolder.make();
  const script = 'echo first >&2; until [ -e "$here/go" ]; do sleep 0.02; done';
  await plugins.install("net", { ADD: { script, stderr: "last\n", code: 2 }, DEL: { stderr: "bye\n" } });
  const lines: string[] = [];
  const runner = runnerOf(plugins, {
    onStderrLine: ({ line }) => {
      lines.push(line);
      // The plugin continues only after its first line was reported.
      if (line === "first") Deno.writeTextFileSync(`${plugins.dir}/net.d/go`, "");
    },
  });
  // Its default answer to ADD is printed before the failing exit.
  await plugins.install("silent", { ADD: { stdout: "", stderr: "only this\n", code: 1 } });
  const error = await failing(() => runner.call(callOf()));
  assertEquals({ kind: error.kind, exitCode: error.context.exitCode, stderr: error.context.stderr }, {
    kind: "plugin-crash",
    exitCode: 2,
    stderr: "first\nlast",
  });
  const silent = await failing(() => runner.call(callOf({ type: "silent" })));
  assertStringIncludes(silent.message, "only this");
  await runner.call(callOf({ verb: "DEL" }));
  assertEquals(lines, ["first", "last", "only this", "bye"]);
});

Deno.test("B50 the error of a plugin that a signal ended names the signal", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("net", { ADD: { stdout: '{"ips": [', signal: "SEGV" } });
  const error = await failing(() => runnerOf(plugins).call(callOf()));
  assertEquals(error.context.signal, "SIGSEGV");
});

Deno.test("B64 B66 B67 when the time limit expires, the plugin and its children are ended and the call returns", async () => {
  await using plugins = await PluginFolder.make();
  // It gets TERM first, and may clean up.
  const script = `trap 'echo cleaning >&2; touch "$here/cleaned"; exit 1' TERM; : >"$here/ready"`;
  await plugins.install("net", { ADD: { script, stdout: "", hang: true } });
  const containerId = `hang-${crypto.randomUUID()}`;
  const signal = deadlineOnce(isReady(plugins), 400);
  const error = await failing(() => runnerOf(plugins).call(callOf({ containerId, signal })));
  assertEquals({ kind: error.kind, msg: error.msg }, { kind: "timeout", msg: "no answer within 0.4s" });
  assert((error.context.elapsedMs ?? 0) > 0, String(error.context.elapsedMs));
  assertEquals(error.context.stderr, "cleaning");
  assert((await Deno.stat(`${plugins.dir}/net.d/cleaned`)).isFile);
  await assertNoneLeft(containerId);
});

Deno.test("B66 a plugin that ignores TERM is killed after the grace time", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("net", { ADD: { script: `trap "" TERM; : >"$here/ready"`, stdout: "", hang: true } });
  const containerId = `stubborn-${crypto.randomUUID()}`;
  const signal = deadlineOnce(isReady(plugins), 200);
  const error = await failing(() => runnerOf(plugins).call(callOf({ containerId, signal })));
  assertEquals(error.kind, "timeout");
  await assertNoneLeft(containerId);
});

Deno.test("B38 a child that holds the pipes after success does not delay the answer", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("net", { ADD: { script: "sleep 300 &" } });
  const containerId = `child-${crypto.randomUUID()}`;
  const started = performance.now();
  try {
    assertEquals(await runnerOf(plugins).add(callOf({ containerId }), "1.1.0"), { cniVersion: "1.1.0" });
    assert(performance.now() - started < 100_000);
  } finally {
    for (const pid of await findByEnvironment(`CNI_CONTAINERID=${containerId}`)) Deno.kill(pid, "SIGKILL");
  }
});

Deno.test("B40 a plugin that prints without end is ended", async () => {
  await using plugins = await PluginFolder.make();
  await plugins.install("out", { ADD: { script: "exec cat /dev/zero" } });
  await plugins.install("err", { ADD: { script: "exec cat /dev/zero >&2" } });
  const out = await failing(() => runnerOf(plugins).call(callOf({ type: "out" })));
  assertEquals({ kind: out.kind, msg: out.msg }, {
    kind: "plugin-output",
    msg: "the plugin wrote more to standard output than podwire accepts",
  });
  const err = await failing(() => runnerOf(plugins).call(callOf({ type: "err" })));
  assertStringIncludes(err.msg, "standard error");
});

Deno.test("B61 a file that is open for writing is started in a new process once it is closed", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net");
  // A copy: other tests link to the original program, and must not wait for this test to close it.
  const program = await Deno.readTextFile(net.path);
  await Deno.remove(net.path);
  const file = await Deno.open(net.path, { write: true, createNew: true, mode: 0o755 });
  await file.write(new TextEncoder().encode(program));
  const pending = runnerOf(plugins).add(callOf(), "1.1.0");
  await new Promise((resolve) => setTimeout(resolve, 50));
  file.close();
  assertEquals(await pending, { cniVersion: "1.1.0" });
  assertEquals((await net.calls()).length, 1);
});

Deno.test("code 11 starts a new process for each try", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net");
  await net.answer("DEL", { stdout: '{"code": 11, "msg": "later"}', code: 1 }, 1);
  await runnerOf(plugins).call(callOf({ verb: "DEL" }));
  assertEquals(await plugins.verbs(), ["net DEL", "net DEL"]);
  const [first, second] = await net.calls();
  assertEquals(first?.stdin, second?.stdin);
});

Deno.test("B43 the error of a file that cannot be started says why, and the file never runs as a shell script", async () => {
  await using plugins = await PluginFolder.make();
  await Deno.writeTextFile(`${plugins.dir}/garbled`, `touch ${plugins.dir}/ran\n`, { mode: 0o755 });
  await Deno.writeTextFile(`${plugins.dir}/lost`, "#!/nowhere/sh\n", { mode: 0o755 });
  for (const type of ["garbled", "lost"]) {
    const error = await failing(() => runnerOf(plugins).call(callOf({ type })));
    assertEquals(error.kind, "plugin-start", error.message);
    assertStringIncludes(error.msg, `${plugins.dir}/${type} cannot be started`);
  }
  assertEquals(await plugins.verbs(), []);
  await assertRejects(() => Deno.stat(`${plugins.dir}/ran`), Deno.errors.NotFound);
});

Deno.test("B8 a file without an execute bit in an earlier directory does not hide the plugin", async () => {
  await using front = await PluginFolder.make();
  await using plugins = await PluginFolder.make();
  await plugins.install("net");
  await Deno.writeTextFile(`${front.dir}/net`, "#!/bin/sh\nexit 1\n", { mode: 0o644 });
  const runner = new PluginRunner({ pluginDirs: [front.dir, plugins.dir] });
  assertEquals(await runner.locate("net"), { kind: "binary", path: `${plugins.dir}/net` });
  await runner.call(callOf());
  assertEquals(await plugins.verbs(), ["net ADD"]);
});
