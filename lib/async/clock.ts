/** Time that a test can replace. */
export interface Clock {
  /** Milliseconds of a clock that never goes back; only differences have a meaning. */
  now(): number;
  /** The time of day; it can be set back. */
  date(): Date;
  /** Calls `callback` once, after `ms` milliseconds, unless the result is disposed before. */
  after(ms: number, callback: () => void): Disposable;
}

/** The time of this machine. */
export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => new Date(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
