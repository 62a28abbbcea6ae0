// Waits for what may take long on a busy machine. A test about durations compares ratios.
import { assert } from "@std/assert";
import { delay } from "../lib/async/wait.ts";
import { Deadline } from "../lib/plugin/deadline.ts";

/** After so long it is not slow, it does not come. */
const PATIENCE_MS = 60_000;

/** Waits until something is so. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  what = "it became so",
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!await isSo()) {
    assert(performance.now() < end, `not within ${patienceMs / 1000} s: ${what}`);
    await delay(10);
  }
}

/**
 * The signal of a deadline whose clock starts once something is so: how soon a plugin runs depends on the
 * machine, and a test of how a plugin is ended needs one that runs.
 */
export function deadlineOnce(isSo: () => boolean | Promise<boolean>, ms: number): AbortSignal {
  const stop = new AbortController();
  const run = async () => {
    await until(isSo);
    const deadline = new Deadline(ms);
    deadline.signal.addEventListener("abort", () => stop.abort(deadline.signal.reason));
  };
  run().catch((error) => stop.abort(error));
  return stop.signal;
}
