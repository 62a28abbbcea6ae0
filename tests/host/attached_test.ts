import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { type AttachedChild, runAttached } from "../../lib/host/attached.ts";
import { runCommand } from "../../lib/host/command.ts";
import { statOf } from "../../lib/host/file.ts";
import { findProgram } from "../../lib/host/search_path.ts";
import { until } from "../until.ts";

const ATTACHED = new URL("../../lib/host/attached.ts", import.meta.url);

Deno.test("runAttached() returns the exit code and the signal", async () => {
  const sh = (script: string) => runAttached({ program: "sh", args: ["-c", script] });
  assertEquals(await sh("exit 7"), { code: 7, signal: null });
  assertEquals(await sh("kill -INT $$"), { code: 130, signal: "SIGINT" });
  await assertRejects(() => runAttached({ program: "pwt-absent" }), Deno.errors.NotFound);
});

Deno.test("runAttached() connects the program to the streams and the process group of this process", async () => {
  const script = `
    import { runAttached } from "${ATTACHED}";
    const show = 'read a; echo "$a $A $B"; echo err >&2; [ "$(ps -o pgid= -p $$)" = "$(ps -o pgid= -p $PPID)" ]';
    const one = await runAttached({ program: "sh", args: ["-c", show], env: { A: "1" }, inheritEnv: true });
    const two = await runAttached({ program: "/usr/bin/env", env: { A: "2" } });
    Deno.exit(one.code + two.code);`;
  const file = await Deno.makeTempFile({ prefix: "pwt-", suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, script);
    const outcome = await runCommand({
      program: Deno.execPath(),
      args: ["run", "-q", "--no-prompt", "--no-config", "--no-check", "--allow-run", file],
      env: { HOME: Deno.env.get("HOME") ?? "/", PATH: Deno.env.get("PATH") ?? "", B: "from outside" },
      stdin: "in\n",
    });
    const { code, stdout, stderr } = outcome;
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: "in 1 from outside\nA=2\n", stderr: "err\n" });
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("runAttached() passes on a handle that sends signals, also after the end", async () => {
  let child: AttachedChild | undefined;
  const running = runAttached({ program: "sleep", args: ["30"] }, { onSpawn: (spawned) => child = spawned });
  child?.kill("SIGUSR1");
  assertEquals(await running, { code: 138, signal: "SIGUSR1" });
  child?.kill("SIGUSR1");
});

Deno.test("runAttached() ends the program when the signal fires, and kills it after the grace period", async () => {
  const stop = new AbortController();
  const ready = await Deno.makeTempFile({ prefix: "pwt-" });
  const script = `trap '' TERM; rm ${ready}; while :; do sleep 0.05; done`;
  const running = runAttached({ program: "sh", args: ["-c", script] }, { signal: stop.signal, graceMs: 200 });
  await until(async () => await statOf(ready) === undefined);
  const start = performance.now();
  stop.abort(new Error("enough"));
  assertEquals(await running, { code: 137, signal: "SIGKILL" });
  assertLess(performance.now() - start, 60_000);
  await assertRejects(() => runAttached({ program: "true" }, { signal: stop.signal }), Error, "enough");
});

Deno.test("findProgram() returns the first executable file of a PATH", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  try {
    for (const [name, mode] of [["a", 0o644], ["b", 0o755], ["c", 0o755]] as const) {
      await Deno.mkdir(`${dir}/${name}`);
      await Deno.writeTextFile(`${dir}/${name}/tool`, "#!/bin/sh\n", { mode });
    }
    await Deno.mkdir(`${dir}/d/tool`, { recursive: true });
    const path = (...names: string[]) => names.map((name) => `${dir}/${name}`).join(":");
    assertEquals(findProgram("tool", path("absent", "d", "a", "b", "c")), `${dir}/b/tool`);
    assertEquals(findProgram("tool", path("c", "b")), `${dir}/c/tool`);
    assertEquals(findProgram("tool", path("a", "d")), undefined);
    assertEquals(findProgram(`${dir}/c/tool`, ""), `${dir}/c/tool`);
    assertEquals(findProgram(`${dir}/a/tool`, path("b")), undefined);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
