/** Options of {@linkcode Debouncer}, in milliseconds. */
export interface DebouncerOptions {
  /** How long after an event others are waited for. */
  readonly gatherMs: number;
  /** How long after the first event at most. */
  readonly longestMs: number;
  /** How long without an event. */
  readonly pollMs: number;
  /** Called when it is time, with whether an event is the cause; not again before it ended. */
  readonly due: (byEvent: boolean) => Promise<unknown>;
  /** Takes what `due` throws. */
  readonly failed: (error: unknown) => void;
}

/** Tells when to look at something again: soon after an event and the others that come with it, else now and then. */
export class Debouncer implements Disposable {
  readonly #options: DebouncerOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pollAt: number;
  /** Of the first event since the last look. */
  #firstAt: number | undefined;
  #eventAt = Infinity;
  #extraAt = Infinity;
  #running = false;
  #disposed = false;

  /** Nothing is due before it is told to begin, or of an event. */
  constructor(options: DebouncerOptions) {
    this.#options = options;
    this.#pollAt = Infinity;
  }

  /** There was an event. */
  hurry(): void {
    const now = performance.now();
    this.#firstAt ??= now;
    this.#eventAt = Math.min(now + this.#options.gatherMs, this.#firstAt + this.#options.longestMs);
    this.#arm();
  }

  /** It is time again in so many milliseconds at the latest. */
  within(ms: number): void {
    this.#extraAt = performance.now() + ms;
    this.#arm();
  }

  /** A look begins: what was told before is done with it. */
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
    // A timer may be early by a fraction, and what is due then must not be due again.
    if (this.#extraAt <= at) this.#extraAt = Infinity;
    // It may never get to say so itself.
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
