/**
 * A process of its own with {@linkcode Pods} open: `pods_process.ts OPTIONS`, which is JSON. It tells `{"pid": N}` when
 * they are open, then obeys one line `{"id": N, "call": NAME, "args": [...]}` after another, all at once, and answers
 * each with `{"id": N, "value": ...}` or `{"id": N, "error": ...}`. It ends with its standard input.
 *
 * `boot` among the options is the boot that it believes to be in.
 */
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { asCniError } from "../../lib/plugin/failure.ts";
import { Pods } from "../../lib/pods.ts";

const CALLS = ["setUp", "tearDown", "podStatus", "gc", "recover", "status", "networks", "reload"] as const;

/** One of the calls that the process obeys. */
export type PodsCall = typeof CALLS[number];

/** What comes in. */
export interface PodsLine {
  readonly id: number;
  readonly call: PodsCall;
  readonly args: readonly unknown[];
}

function bootedAs(boot: string | undefined): RunCommand {
  return async (request) => {
    const outcome = await runCommand(request);
    const asked = boot !== undefined && request.args?.includes("/proc/sys/kernel/random/boot_id");
    return asked ? { ...outcome, stdout: `${boot}\n` } : outcome;
  };
}

function answer(line: Readonly<Record<string, unknown>>): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
}

async function obey(pods: Pods, { id, call, args }: PodsLine): Promise<void> {
  try {
    // deno-lint-ignore no-explicit-any
    const value = await (pods[call] as (...args: readonly any[]) => Promise<unknown>).apply(
      pods,
      args as never,
    );
    answer({ id, value: value ?? null });
  } catch (error) {
    answer({ id, error: asCniError(error) });
  }
}

async function main(): Promise<void> {
  const { boot, ...options } = JSON.parse(Deno.args[0] ?? "{}");
  await using pods = await Pods.open({ ...options, run: bootedAs(boot) });
  answer({ pid: Deno.pid });
  const under: Promise<void>[] = [];
  let rest = "";
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) under.push(obey(pods, JSON.parse(line)));
  }
  await Promise.all(under);
}

if (import.meta.main) await main();
