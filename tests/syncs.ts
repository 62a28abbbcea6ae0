/** Counts how often this process waits for the disk, until it is disposed of. */
export class Syncs implements Disposable {
  #count = 0;
  readonly #before = new Map<"sync" | "syncData", () => Promise<void>>();

  constructor() {
    const { prototype } = Deno.FsFile;
    // deno-lint-ignore no-this-alias
    const counter = this;
    for (const name of ["sync", "syncData"] as const) {
      const before = prototype[name];
      this.#before.set(name, before);
      prototype[name] = function () {
        counter.#count++;
        return before.call(this);
      };
    }
  }

  /** Returns how many there were since the last call. */
  take(): number {
    const count = this.#count;
    this.#count = 0;
    return count;
  }

  [Symbol.dispose](): void {
    for (const [name, before] of this.#before) Deno.FsFile.prototype[name] = before;
  }
}
