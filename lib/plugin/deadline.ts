import { CniError } from "../cni/error.ts";
import type { Verb } from "./invocation.ts";

/** Time limit of each verb for the whole chain, in milliseconds. */
export type Timeouts = Readonly<Record<Verb, number>>;

/** Two minutes for ADD, one for DEL and GC, thirty seconds for CHECK, five for STATUS and VERSION. */
export const DEFAULT_TIMEOUTS: Timeouts = {
  ADD: 120_000,
  CHECK: 30_000,
  DEL: 60_000,
  GC: 60_000,
  STATUS: 5_000,
  VERSION: 5_000,
};

/** The longest time of a timer; one with a longer time fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * A signal that fires when the time limit expires, with a {@linkcode CniError} of kind `timeout` and the message `msg` as
 * its reason, or when an outer signal fires, with the reason of that signal. Disposing it stops the timer.
 *
 * @example
 * ```ts
 * import { Deadline } from "./deadline.ts";
 *
 * using deadline = new Deadline(5_000);
 * console.log(deadline.signal.aborted); // false
 * ```
 */
export class Deadline implements Disposable {
  readonly signal: AbortSignal;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(
    readonly timeoutMs: number,
    outer?: AbortSignal,
    msg = `no answer within ${timeoutMs / 1000}s`,
  ) {
    const controller = new AbortController();
    const ms = Math.min(timeoutMs, LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => controller.abort(new CniError("timeout", msg)), ms);
    this.signal = outer === undefined ? controller.signal : AbortSignal.any([controller.signal, outer]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
