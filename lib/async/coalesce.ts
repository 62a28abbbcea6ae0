import { abortable } from "./wait.ts";

/** Runs a body never twice at once: whoever asks while it runs shares the next run. */
export class Coalescer<T> {
  readonly #body: () => Promise<T>;
  #last: Promise<unknown> = Promise.resolve();
  #next: Promise<T> | undefined;

  constructor(body: () => Promise<T>) {
    this.#body = body;
  }

  /**
   * What a run comes to that begins after this call. The signal ends the waiting, not the run, which others may wait
   * for, too.
   */
  async next(signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    this.#next ??= this.#begin();
    return await abortable(this.#next, signal);
  }

  /** Resolves when nothing runs. */
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
    // All who wait for it may have left.
    next.catch(() => {});
    this.#last = next;
    return next;
  }
}
