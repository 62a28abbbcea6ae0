interface Flight<T> {
  readonly done: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

/**
 * Shares one run of the same work between callers that want it at the same time. The signal of one caller ends its own
 * waiting at once; when the last caller is gone, the work itself is aborted.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /** Resolves with the result of the running work of this key, or else of new work. */
  async join(key: string, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#begin(key, work);
    const left = Promise.withResolvers<never>();
    let stays = true;
    const leave = () => {
      stays = false;
      // Counted here: several signals may fire before any caller continues.
      if (--flight.waiting > 0) return left.reject(signal?.reason);
      this.#forget(key, flight);
      flight.controller.abort(signal?.reason);
    };
    flight.waiting++;
    signal?.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([flight.done, left.promise]);
    } finally {
      signal?.removeEventListener("abort", leave);
      if (stays) flight.waiting--;
    }
  }

  #begin(key: string, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const flight: Flight<T> = { done: work(controller.signal), controller, waiting: 0 };
    this.#flights.set(key, flight);
    const forget = () => this.#forget(key, flight);
    flight.done.then(forget, forget);
    return flight;
  }

  #forget(key: string, flight: Flight<T>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}
