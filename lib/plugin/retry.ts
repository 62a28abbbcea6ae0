import { delay } from "../async/wait.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { startProblem } from "../host/command.ts";
import type { Verb } from "./invocation.ts";

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

/** The retries of one call: after growing delays, as long as the plugin says "try again later" or its executable is busy. */
export class Retries {
  readonly #verb: Verb;
  readonly #signal: AbortSignal;
  readonly #started = performance.now();
  #nextMs = FIRST_DELAY_MS;

  constructor({ verb, signal }: { readonly verb: Verb; readonly signal: AbortSignal }) {
    this.#verb = verb;
    this.#signal = signal;
  }

  /** Whether the call may be made again after this error. */
  allow(error: unknown): boolean {
    return isTransient(error, this.#verb);
  }

  /**
   * Waits until the next attempt.
   *
   * @throws {CniError} with the reason of the signal, if that fires first
   */
  async delay(error: unknown): Promise<void> {
    const ms = this.#nextMs;
    this.#nextMs = Math.min(ms * 2, LONGEST_DELAY_MS);
    await delayAfter(error, ms, this.#signal, this.#started);
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
