/** Runs bodies with the same key one after another, in the order of the calls; those of different keys run at once. */
export class Serial {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Resolves with the result of the body, which runs when all earlier ones with that key have ended. */
  async run<T>(key: string, body: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key);
    const run = before === undefined ? body() : before.then(body, body);
    this.#last.set(key, run);
    try {
      return await run;
    } finally {
      if (this.#last.get(key) === run) this.#last.delete(key);
    }
  }
}
