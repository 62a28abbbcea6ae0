// Misbehaviour of plugins that the runtime must stop: endless output, an executable that stays busy, pipes that others hold.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { statOf } from "../../lib/host/file.ts";
import { Deadline } from "../../lib/plugin/deadline.ts";
import { findByEnvironment } from "../processes.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { deadlineOnce } from "../until.ts";
import { callOf, failing, runnerOf } from "./plugin_call.ts";

const MIB = 1024 * 1024;
async function seconds(act: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await act();
  return (performance.now() - started) / 1000;
}

/** A plugin whose file is open for writing: the kernel does not start it. */
async function busyPlugin(plugins: PluginFolder): Promise<Disposable> {
  const net = await plugins.install("net");
  // A copy: all other tests link to the original.
  const program = await Deno.readFile(net.path);
  await Deno.remove(net.path);
  const file = await Deno.open(net.path, { write: true, createNew: true, mode: 0o755 });
  await file.write(program);
  return file;
}

Deno.test("B39 B40 a result may have 1 MiB and is read completely, and one more byte is refused", async () => {
  await using plugins = await PluginFolder.make();
  const script = (bytes: number) =>
    `printf '{"dns":{},"pad":"'; head -c ${
      bytes - '{"dns":{},"pad":""}'.length
    } /dev/zero | tr '\\0' x; printf '"}'; exit 0`;
  const net = await plugins.install("net", { ADD: { script: script(MIB) } });
  const result = await runnerOf(plugins).add(callOf(), "1.1.0");
  assertEquals(String(result.pad).length, MIB - '{"dns":{},"pad":""}'.length);
  await net.answer("ADD", { script: script(MIB + 1) });
  const error = await failing(() => runnerOf(plugins).add(callOf(), "1.1.0"));
  assertEquals(error.kind, "plugin-output");
  assertStringIncludes(error.msg, `${MIB + 1}`);
});

Deno.test("B40 a plugin that prints without end and ignores TERM is killed", async () => {
  await using plugins = await PluginFolder.make();
  const endless = "trap '' TERM; while :; do echo line after line after line after line; done";
  await plugins.install("out", { ADD: { script: endless } });
  await plugins.install("err", { ADD: { script: `exec 1>&2; ${endless}` } });
  const logged: string[] = [];
  const runner = runnerOf(plugins, { onStderrLine: ({ line }) => void logged.push(line) });
  const containerId = `endless-${crypto.randomUUID()}`;
  const took = await seconds(async () => {
    const errors = await Promise.all(
      ["out", "err"].map((type) => failing(() => runner.call(callOf({ type, containerId })))),
    );
    assertEquals(errors.map(({ kind, code }) => [kind, code]), [["plugin-output", 6], ["plugin-output", 6]]);
    assertStringIncludes(errors[0]?.msg ?? "", "standard output");
    assertStringIncludes(errors[1]?.msg ?? "", "standard error");
  });
  assert(took < 120, `${took} s`);
  assertEquals(logged.length, 201, "200 lines, and how many more there were");
  assertEquals(await findByEnvironment(`CNI_CONTAINERID=${containerId}`), []);
});

Deno.test("B40 standard error is reported line by line while the plugin runs, also a last line without a line break", async () => {
  await using plugins = await PluginFolder.make();
  const script =
    'printf "one\\ntw" >&2; until [ -e "$here/go" ]; do sleep 0.02; done; printf "o\\n\\nrest" >&2';
  await plugins.install("net", { DEL: { script } });
  const lines: string[] = [];
  const runner = runnerOf(plugins, {
    onStderrLine: ({ line }) => {
      lines.push(line);
      if (line === "one") Deno.writeTextFileSync(`${plugins.dir}/net.d/go`, "");
    },
  });
  await runner.call(callOf({ verb: "DEL" }));
  assertEquals(lines, ["one", "two", "", "rest"]);
});

Deno.test("B59 B61 a file that stays busy is an error of every verb when the time limit expires, and never ran", async () => {
  await using plugins = await PluginFolder.make();
  using _busy = await busyPlugin(plugins);
  const calls = (["ADD", "CHECK", "DEL"] as const).map(async (verb) => {
    using deadline = new Deadline(3_000);
    const error = await failing(() => runnerOf(plugins).call(callOf({ verb, signal: deadline.signal })));
    assertEquals(error.kind, "timeout");
    assertStringIncludes(error.context.details ?? "", "Text file busy");
    assert((error.context.elapsedMs ?? 0) > 0, String(error.context.elapsedMs));
  });
  await Promise.all(calls);
  assertEquals(await plugins.verbs(), []);
});

Deno.test("B62 an abort ends the wait for a busy file at once", async () => {
  await using plugins = await PluginFolder.make();
  using _busy = await busyPlugin(plugins);
  const cancel = new AbortController();
  const pending = failing(() => runnerOf(plugins).call(callOf({ signal: cancel.signal })));
  // By now it waits for 0.8 s.
  await new Promise((resolve) => setTimeout(resolve, 800));
  cancel.abort();
  const atOnce = new Promise((resolve) => setTimeout(resolve, 0, "later"));
  assertEquals(await Promise.race([pending.then(({ kind }) => kind), atOnce]), "cancelled");
});

Deno.test("B66 a grandchild in another session that holds the pipes does not delay the call", async () => {
  await using plugins = await PluginFolder.make();
  const containerId = `escaped-${crypto.randomUUID()}`;
  const escape = 'setsid sh -c \'trap "" TERM HUP; : >"$0"; sleep 300\' "$here/ready" &';
  await plugins.install("slow", { ADD: { script: `${escape} wait` } });
  await plugins.install("done", { ADD: { script: escape } });
  const escaped = () => findByEnvironment(`CNI_CONTAINERID=${containerId}`);
  try {
    const signal = deadlineOnce(async () => await statOf(`${plugins.dir}/slow.d/ready`) !== undefined, 300);
    const late = await seconds(async () => {
      const call = callOf({ type: "slow", containerId, signal });
      assertEquals((await failing(() => runnerOf(plugins).call(call))).kind, "timeout");
    });
    assert(late < 100, `${late} s`);
    assertEquals(await escaped(), [], "what hangs ends with all that it has started");
    const well = await seconds(() => runnerOf(plugins).add(callOf({ type: "done", containerId }), "1.1.0"));
    assert(well < 100, `${well} s`);
    // A process that outlives the answer in its own session is a daemon of the plugin.
    assert((await escaped()).length >= 1);
  } finally {
    for (const pid of await escaped()) Deno.kill(pid, "SIGKILL");
  }
});
