import type { Clock } from "./clock.ts";

/** Timers by key: a new timer replaces the previous one of its key. */
export class KeyedTimers implements Disposable {
  readonly #clock: Clock;
  readonly #timers = new Map<string, Disposable>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls back once after that many milliseconds. */
  set(key: string, ms: number, callback: () => void): void {
    this.cancel(key);
    this.#timers.set(key, this.#clock.after(ms, callback));
  }

  /** Cancels the timer of that key, if there is one. */
  cancel(key: string): void {
    this.#timers.get(key)?.[Symbol.dispose]();
    this.#timers.delete(key);
  }

  /** Cancels all timers. */
  [Symbol.dispose](): void {
    for (const timer of this.#timers.values()) timer[Symbol.dispose]();
    this.#timers.clear();
  }
}
