import { assert, assertEquals, assertRejects } from "@std/assert";
import type { RunCommand } from "../../lib/host/command.ts";
import { isRunning, readProcesses } from "../../lib/host/process.ts";
import { until } from "../until.ts";
import "../open_libc.ts";

/** The output of `cat`. */
const printing = (stdout: string): RunCommand => () =>
  Promise.resolve({ code: 0, signal: null, stdout, stderr: "", elapsedMs: 1, ended: "exit" });

/** A line of `/proc/<pid>/stat`. */
function stat(pid: number, name: string, state: string, start: number): string {
  const numbers = Array.from({ length: 49 }, (_, index) => index === 18 ? start : index === 5 ? -1 : index);
  return `${pid} (${name}) ${state} ${numbers.join(" ")}\n`;
}

Deno.test("processes are read with their start, and missing ones are left out", async () => {
  const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
  try {
    const seen = await readProcesses([Deno.pid, child.pid, 2 ** 22 + 1, child.pid]);
    assertEquals([...seen.keys()].sort(), [Deno.pid, child.pid].sort());
    const [own, theirs] = [seen.get(Deno.pid), seen.get(child.pid)];
    assert(own !== undefined && theirs !== undefined && own.start > 0 && theirs.start >= own.start);
    assertEquals((await readProcesses([Deno.pid])).get(Deno.pid), own);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  assertEquals((await readProcesses([child.pid])).size, 0);
  assertEquals((await readProcesses([])).size, 0);
});

Deno.test("a process that has ended is not running, even before its parent notices", async () => {
  // A shell would notice: the child ends after its parent has become another program.
  const script =
    '(while read -r name </proc/$$/comm && [ "$name" = sh ]; do :; done) & echo $!; exec sleep 60';
  const parent = new Deno.Command("sh", { args: ["-c", script], stdout: "piped" }).spawn();
  try {
    const reader = parent.stdout.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    const pid = Number(new TextDecoder().decode(value));
    let seen: Awaited<ReturnType<typeof readProcesses>> = new Map();
    await until(async () => {
      seen = await readProcesses([pid]);
      return seen.get(pid)?.isZombie === true;
    });
    assertEquals(isRunning(seen, { pid, start: undefined }), false);
  } finally {
    parent.kill("SIGKILL");
    await parent.status;
  }
});

Deno.test("the name of a program is never mistaken for the numbers after it", async () => {
  const names = ["a b", "x) R 1 2", "1) Z 1\n7 (y", "((", "))", "", "\n"];
  const text = names.map((name, index) => stat(100 + index, name, "S", 5000 + index)).join("");
  const seen = await readProcesses([100], { run: printing(text) });
  assertEquals(
    [...seen],
    names.map((_, index) => [100 + index, { start: 5000 + index, isZombie: false }]),
  );
});

Deno.test("another process with the same ID is not the same process", () => {
  const seen = new Map([[7, { start: 40, isZombie: false }]]);
  assert(isRunning(seen, { pid: 7, start: 40 }));
  assert(isRunning(seen, { pid: 7, start: undefined }));
  assert(!isRunning(seen, { pid: 7, start: 41 }));
  assert(!isRunning(seen, { pid: 8, start: undefined }));
});

Deno.test("reading processes ends with the signal", async () => {
  await assertRejects(() => readProcesses([1], { signal: AbortSignal.abort(new Error("enough")) }), "enough");
});
