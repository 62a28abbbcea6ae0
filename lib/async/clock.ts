/** The time, for those who have to measure it and be tested. */
export interface Clock {
  /** Milliseconds that only ever grow, and tell nothing but how far two moments are apart. */
  now(): number;
  /** The time of day, which may be set back. */
  date(): Date;
  /** Calls back once, that many milliseconds later, unless disposed of before. */
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
