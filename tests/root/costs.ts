/** Counts what this process starts, and how often it waits for the disk, until it is disposed of. */
export class Costs implements Disposable {
  readonly #programs: string[] = [];
  #syncs = 0;
  readonly #command = Deno.Command;
  readonly #sync = Deno.FsFile.prototype.sync;

  constructor() {
    const programs = this.#programs;
    Deno.Command = new Proxy(Deno.Command, {
      construct(target, args, self) {
        const [program, options] = args as ConstructorParameters<typeof Deno.Command>;
        programs.push(`${options?.detached ? "detached " : ""}${program}`);
        return Reflect.construct(target, args, self);
      },
    });
    const synced = () => this.#syncs++;
    const sync = this.#sync;
    Deno.FsFile.prototype.sync = function () {
      synced();
      return sync.call(this);
    };
  }

  /** What was counted since the last call. */
  take(): { readonly programs: readonly string[]; readonly syncs: number } {
    const taken = { programs: this.#programs.splice(0), syncs: this.#syncs };
    this.#syncs = 0;
    return taken;
  }

  [Symbol.dispose](): void {
    Deno.Command = this.#command;
    Deno.FsFile.prototype.sync = this.#sync;
  }
}
