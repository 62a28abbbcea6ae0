import { Syncs } from "../syncs.ts";

/** Counts what this process starts, and how often it waits for the disk, until it is disposed of. */
export class Costs implements Disposable {
  readonly #programs: string[] = [];
  readonly #syncs = new Syncs();
  readonly #command = Deno.Command;

  constructor() {
    const programs = this.#programs;
    Deno.Command = new Proxy(Deno.Command, {
      construct(target, args, self) {
        const [program, options] = args as ConstructorParameters<typeof Deno.Command>;
        programs.push(`${options?.detached ? "detached " : ""}${program}`);
        return Reflect.construct(target, args, self);
      },
    });
  }

  /** What was counted since the last call. */
  take(): { readonly programs: readonly string[]; readonly syncs: number } {
    return { programs: this.#programs.splice(0), syncs: this.#syncs.take() };
  }

  [Symbol.dispose](): void {
    Deno.Command = this.#command;
    this.#syncs[Symbol.dispose]();
  }
}
