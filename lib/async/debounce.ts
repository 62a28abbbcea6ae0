/** Options of {@linkcode Debouncer}, in milliseconds. */
export interface DebouncerOptions {
  /** Time to wait for further events after an event. */
  readonly gatherMs: number;
  /** Longest time from the first event to the call. */
  readonly longestMs: number;
  /** Time to the next call if there is no event. */
  readonly pollMs: number;
  /** Called when it is time; `byEvent` is false if there was no event. Never called again before it ended. */
  readonly due: (byEvent: boolean) => Promise<unknown>;
  /** Called with the error that `due` throws. */
  readonly failed: (error: unknown) => void;
}

/** Calls back soon after a group of events, and from time to time without an event. */
export class Debouncer implements Disposable {
  readonly #options: DebouncerOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pollAt: number;
  /** Time of the first event since the last call. */
  #firstAt: number | undefined;
  #eventAt = Infinity;
  #extraAt = Infinity;
  #running = false;
  #disposed = false;

  /** Nothing is due before the first call of `begin`, `hurry` or `within`. */
  constructor(options: DebouncerOptions) {
    this.#options = options;
    this.#pollAt = Infinity;
  }

  /** Registers an event. */
  hurry(): void {
    const now = performance.now();
    this.#firstAt ??= now;
    this.#eventAt = Math.min(now + this.#options.gatherMs, this.#firstAt + this.#options.longestMs);
    this.#arm();
  }

  /** Makes the next call due in `ms` milliseconds at the latest. */
  within(ms: number): void {
    this.#extraAt = performance.now() + ms;
    this.#arm();
  }

  /** Starts a new period: the events so far are handled. */
  begin(): void {
    const now = performance.now();
    this.#pollAt = now + this.#options.pollMs;
    this.#firstAt = undefined;
    this.#eventAt = Infinity;
    if (this.#extraAt <= now) this.#extraAt = Infinity;
    this.#arm();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    clearTimeout(this.#timer);
  }

  #arm(): void {
    if (this.#running || this.#disposed) return;
    clearTimeout(this.#timer);
    const at = Math.min(this.#pollAt, this.#eventAt, this.#extraAt);
    if (at === Infinity) return;
    this.#timer = setTimeout(() => void this.#fire(at), Math.max(0, at - performance.now()));
  }

  async #fire(at: number): Promise<void> {
    this.#running = true;
    const byEvent = this.#firstAt !== undefined;
    // A timer may fire a fraction of a millisecond early; what it fired for must not be due again.
    if (this.#extraAt <= at) this.#extraAt = Infinity;
    // `due` may fail before it calls `begin` itself.
    this.begin();
    try {
      await this.#options.due(byEvent);
    } catch (error) {
      this.#options.failed(error);
    } finally {
      this.#running = false;
      this.#arm();
    }
  }
}
