interface Flight<T> {
  readonly done: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

/**
 * Does what several callers want at the same time once, for all of them. It is cut short when the last of them no
 * longer wants it; who leaves before, leaves at once.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /** What `work` comes to: that of a call of this key that is under way, else a new one. */
  async join(key: string, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#begin(key, work);
    const left = Promise.withResolvers<never>();
    let stays = true;
    const leave = () => {
      stays = false;
      // Counted here: several may leave before any of them goes on.
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
