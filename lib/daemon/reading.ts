import type { Clock } from "../async/clock.ts";
import { settled } from "../async/wait.ts";

/** Frequent requests for metrics must not keep the disk busy. */
const FRESH_MS = 2_000;
/**
 * A value stays fresh for this many times the time that it took to read, so that at most a twentieth of the time is
 * spent on reading.
 */
const FRESH_TIMES_COST = 20;
/** Prometheus itself waits for 10 s. */
const LONGEST_WAIT_MS = 3_000;

/**
 * One value that is read on demand, and at most once at a time. One that is slow to read stays fresh for longer, and a caller waits
 * for it only for a short time.
 */
export class Reading<T> {
  #value: T | undefined;
  #freshUntil = -Infinity;
  #running: Promise<T | undefined> | undefined;

  /** Reads nothing yet. */
  constructor(private readonly source: () => Promise<T>, private readonly clock: Clock) {}

  /** Returns the value; undefined if it cannot be read, or was never read in time. */
  async get(): Promise<T | undefined> {
    if (this.clock.now() < this.#freshUntil) return this.#value;
    this.#running ??= this.#read();
    // If it is late, the caller gets the value from before, and a later caller the new one.
    return await settled(this.#running.then((value) => ({ value })), LONGEST_WAIT_MS)
      .then((done) => done === undefined ? this.#value : done.value);
  }

  async #read(): Promise<T | undefined> {
    const started = this.clock.now();
    try {
      this.#value = await this.source();
    } catch {
      // A missing number is better than an old one, and the other sources are not affected.
      this.#value = undefined;
    }
    const now = this.clock.now();
    this.#freshUntil = now + Math.max(FRESH_MS, (now - started) * FRESH_TIMES_COST);
    this.#running = undefined;
    return this.#value;
  }
}
