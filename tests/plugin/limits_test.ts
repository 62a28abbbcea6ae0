// Limits of a plugin's output, which is stored, listed and logged.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { PluginLine } from "../../lib/plugin/exec.ts";
import { decodeOutput, requireSmall } from "../../lib/plugin/output.ts";
import { StderrLines } from "../../lib/plugin/stderr_lines.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { callOf, failing, runnerOf } from "./plugin_call.ts";

const RESULT = '{"cniVersion": "1.1.0", "ips": []';

Deno.test("a result of more than 1 MiB or 10,000 members is refused, with its size and the limit", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net");
  const filled = (length: number) => `${RESULT}, "x": "${"y".repeat(length)}"}`;
  await net.answer("ADD", { stdout: filled(1024 * 1024) });
  const large = await failing(() => runnerOf(plugins).add(callOf(), "1.1.0"));
  assertEquals(large.kind, "plugin-output");
  assertMatch(large.msg, /too large: it has 10486\d\d bytes, of at most 1048576/);
  await net.answer("ADD", { stdout: filled(1024 * 1024 - 100) });
  assertEquals((await runnerOf(plugins).add(callOf(), "1.1.0")).cniVersion, "1.1.0");
  const many = `${RESULT}, "x": [${Array(10_000).fill(0).join(",")}]}`;
  assertMatch((await failing(() => decodeOutput(many))).msg, /more than 10000 members/);
  // In bytes, not in characters.
  assertMatch((await failing(() => requireSmall("ä".repeat(600_000)))).msg, /1200000 bytes/);
});

Deno.test("a long error message is cut everywhere, and says how long it was", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net");
  const long = "z".repeat(6_000_000);
  await net.answer("ADD", {
    stdout: JSON.stringify({ code: 100, msg: long, details: "z".repeat(1_000_000) }),
    code: 1,
  });
  const error = await failing(() => runnerOf(plugins).add(callOf(), "1.1.0"));
  assertMatch(error.msg, /^z{4000}\.\.\. \(it has 6000000 characters\)$/);
  for (const text of [error.message, JSON.stringify(error), error.within({ verb: "ADD" }).message]) {
    assert(text.length < 20_000, `${text.length}`);
  }
  assertEquals(error.within({ verb: "ADD" }).msg, error.msg);
  assertEquals(new CniError("io", "short").msg, "short");
});

Deno.test("the first lines on standard error are reported, then the number of the others; a long line is cut", async () => {
  await using plugins = await PluginFolder.make();
  const net = await plugins.install("net");
  await net.answer("ADD", { stdout: `${RESULT}}`, script: "yes a | head -n 100000 >&2" });
  const lines: PluginLine[] = [];
  await runnerOf(plugins, { onStderrLine: (line) => void lines.push(line) }).add(callOf(), "1.1.0");
  assertEquals(lines.length, 201);
  assertEquals(lines.at(-1)?.line, "... (and 99800 lines more)");
  const reported: string[] = [];
  const one = new StderrLines((line) => void reported.push(line));
  one.add("b".repeat(5_000));
  one.end();
  assertMatch(reported.join(), /^b{2000}\.\.\. \(and 3000 characters more\)$/);
});
