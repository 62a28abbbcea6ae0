// A process that writes to a file as fast as it can, and a count of the events that Deno hands over meanwhile.
import { until } from "./until.ts";

/** Appends to a file, with a system call for each line, until disposed of. */
export class EndlessWriter implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  constructor(readonly path: string) {
    this.#child = new Deno.Command("sh", {
      args: ["-c", 'while :; do echo; done >>"$1"', "sh", path],
      stdin: "null",
    }).spawn();
  }

  /** Waits until it has written so many more lines. */
  async wrote(lines: number): Promise<void> {
    const size = async () => (await Deno.stat(this.path).catch(() => undefined))?.size ?? 0;
    const before = await size();
    await until(async () => await size() >= before + lines, `${lines} more lines are written`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

/** Counts the events that this process reads from all watchers made after it, until disposed of. */
export class CountedEvents implements Disposable {
  readonly #watchFs = Deno.watchFs;
  /** By path, without the directory. */
  readonly byName = new Map<string, number>();
  total = 0;

  constructor() {
    Deno.watchFs = (...args) => {
      const watcher = this.#watchFs(...args);
      const events = watcher[Symbol.asyncIterator].bind(watcher);
      watcher[Symbol.asyncIterator] = () => this.#counted(events());
      return watcher;
    };
  }

  [Symbol.dispose](): void {
    Deno.watchFs = this.#watchFs;
  }

  #counted(events: AsyncIterator<Deno.FsEvent>): AsyncIterableIterator<Deno.FsEvent> {
    const counted = {
      next: async () => {
        const result = await events.next();
        if (!result.done) this.#count(result.value);
        return result;
      },
      [Symbol.asyncIterator]: () => counted,
    };
    return counted;
  }

  #count({ paths }: Deno.FsEvent): void {
    this.total++;
    for (const path of paths) {
      const name = path.slice(path.lastIndexOf("/") + 1);
      this.byName.set(name, (this.byName.get(name) ?? 0) + 1);
    }
  }
}
