import { delay } from "../async/wait.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { startProblem } from "../host/command.ts";
import type { Verb } from "./invocation.ts";

/** How {@linkcode withRetries} retries. */
export interface RetryOptions {
  readonly verb: Verb;
  readonly signal: AbortSignal;
  /** Called with an error that leads to a retry, before the delay. */
  onTransient(error: unknown): void;
  /** Called after the delay, right before the retry. */
  onRetry(): void;
}

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

/** Calls a plugin again, after growing delays, as long as it says "try again later" or its executable is busy. */
export async function withRetries<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { verb, signal, onTransient, onRetry } = options;
  const started = performance.now();
  for (let ms = FIRST_DELAY_MS;; ms = Math.min(ms * 2, LONGEST_DELAY_MS)) {
    try {
      return await attempt();
    } catch (error) {
      if (!isTransient(error, verb)) throw asCniError(error);
      onTransient(error);
      await delayAfter(error, ms, signal, started);
      onRetry();
    }
  }
}

function isTransient(error: unknown, verb: Verb): boolean {
  if (!(error instanceof CniError)) return false;
  if (error.kind === "plugin-start") return startProblem(error.cause) === "busy";
  // STATUS asks for the state as it is now.
  return error.kind === "plugin" && error.code === ERROR_CODES.tryAgainLater && verb !== "STATUS";
}

/** Waits. If the signal fires first, the error also has the last answer of the plugin, which explains more than the timeout. */
async function delayAfter(last: unknown, ms: number, signal: AbortSignal, started: number): Promise<void> {
  try {
    await delay(ms, signal);
  } catch (reason) {
    const details = `last answer: ${asCniError(last).message}`;
    throw asCniError(reason).within({ details, elapsedMs: Math.round(performance.now() - started) });
  }
}
