import { abortable } from "./wait.ts";

/** Runs a body, but never two runs at once: all calls during a run share the next run. */
export class Coalescer<T> {
  readonly #body: () => Promise<T>;
  #last: Promise<unknown> = Promise.resolve();
  #next: Promise<T> | undefined;

  constructor(body: () => Promise<T>) {
    this.#body = body;
  }

  /**
   * Resolves with the result of a run that starts after this call. The signal ends the waiting, not the run: other
   * callers may wait for it.
   */
  async next(signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    this.#next ??= this.#begin();
    return await abortable(this.#next, signal);
  }

  /** Resolves when no run is in progress. */
  async idle(): Promise<void> {
    let last: unknown;
    while (last !== this.#last) {
      last = this.#last;
      await this.#last.catch(() => {});
    }
  }

  #begin(): Promise<T> {
    const before = this.#last;
    const run = async () => {
      await before.catch(() => {});
      this.#next = undefined;
      return await this.#body();
    };
    const next = run();
    // All callers may have stopped waiting.
    next.catch(() => {});
    this.#last = next;
    return next;
  }
}
