/**
 * A process of its own with {@linkcode Pods} open: `pods_process.ts OPTIONS`, with OPTIONS as JSON. It prints
 * `{"pid": N}` when they are open, then runs one line `{"id": N, "call": NAME, "args": [...]}` after another,
 * all at once, and answers each with `{"id": N, "value": ...}` or `{"id": N, "error": ...}`. It ends with its
 * standard input, or with the call `leave`: then at once when they are closed, whatever is in progress.
 *
 * `boot` among the options is the boot ID that it uses.
 */
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import { Pods, type PodsOptions } from "../../lib/runtime/pods.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { bootedAs } from "../booted_as.ts";

const CALLS = ["setUp", "tearDown", "podStatus", "gc", "recover", "status", "networks", "reload"] as const;

/** One of the calls that the process runs: those of pods, and `run` and `remove` of sandboxes. */
export type PodsCall = typeof CALLS[number] | "run" | "remove" | "leave";

/** What it reads. */
export interface PodsLine {
  readonly id: number;
  readonly call: PodsCall;
  readonly args: readonly unknown[];
}

function answer(line: Readonly<Record<string, unknown>>): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
}

// deno-lint-ignore no-explicit-any
type Calls = Readonly<Record<PodsCall, (...args: any[]) => Promise<unknown>>>;

function callsOf(pods: Pods, options: PodsOptions): Calls {
  const { sandboxes } = new Podwire(options);
  return {
    // deno-lint-ignore no-explicit-any
    ...Object.fromEntries(CALLS.map((call) => [call, (pods[call] as any).bind(pods)])) as Calls,
    run: (request) => sandboxes.run(request),
    remove: (id) => sandboxes.remove(id),
    leave: async () => {
      await pods[Symbol.asyncDispose]();
      Deno.exit(0);
    },
  };
}

async function obey(calls: Calls, { id, call, args }: PodsLine): Promise<void> {
  try {
    const value = await calls[call](...args);
    answer({ id, value: value ?? null });
  } catch (error) {
    answer({ id, error: asCniError(error) });
  }
}

async function main(): Promise<void> {
  const { boot, ...plain } = JSON.parse(Deno.args[0] ?? "{}");
  const options: PodsOptions = { ...plain, ...(boot && { run: bootedAs(boot) }) };
  await using pods = await Pods.open(options);
  const calls = callsOf(pods, options);
  answer({ pid: Deno.pid });
  const under: Promise<void>[] = [];
  let rest = "";
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) under.push(obey(calls, JSON.parse(line)));
  }
  await Promise.all(under);
}

if (import.meta.main) await main();
