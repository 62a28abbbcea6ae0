// Runs shell scripts for the tests of `runCommand`.
import { assert } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { type CommandRequest, runCommand } from "../../lib/host/command.ts";

export const MIB = 1024 * 1024;

/** Runs a script, with a very long time limit: a busy machine must not look like a failure. */
export async function sh(script: string, more: Partial<CommandRequest> = {}) {
  return await runCommand({ program: "sh", args: ["-c", script], graceMs: 100_000, ...more });
}

/** Measures the milliseconds that a call takes. */
export async function time<T>(fn: () => Promise<T>): Promise<[T, number]> {
  const start = performance.now();
  return [await fn(), performance.now() - start];
}

/** Whether a process runs. */
export function lives(pid: number): boolean {
  try {
    Deno.kill(pid, 0);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  // A process that has ended, and whose new parent does not wait for it, still has its ID.
  const { stdout } = new Deno.Command("cat", { args: [`/proc/${pid}/stat`], stderr: "null" }).outputSync();
  return !/\) [ZX] /.test(new TextDecoder().decode(stdout));
}

/** Waits until a process has ended, up to a minute; returns whether it has. */
export async function dies(pid: number): Promise<boolean> {
  for (let i = 0; i < 6_000 && lives(pid); i++) await delay(10);
  return !lives(pid);
}

/** Never 0 or less, which would mean the group of this process, or all processes. */
export function pidsIn(text: string): number[] {
  const pids = text.trim().split(/\s+/).map(Number);
  assert(
    pids.length > 0 && pids.every((pid) => Number.isInteger(pid) && pid > 1),
    `no process IDs: "${text}"`,
  );
  return pids;
}

export const kill = (pid: number) => Deno.kill(pid, "SIGKILL");

/** Runs a script, fires its signal after it wrote `up` to stderr, and measures the time from then on. */
export async function abortWhenUp(script: string, more: Partial<CommandRequest> = {}) {
  const stop = new AbortController();
  let start = NaN;
  const onStderrLine = (line: string) => {
    if (line !== "up") return;
    start = performance.now();
    stop.abort();
  };
  const outcome = await sh(script, { signal: stop.signal, onStderrLine, ...more });
  return [outcome, performance.now() - start] as const;
}
