import { parseProcessTable, withDescendants } from "./process_table.ts";

/**
 * What a program that hangs has started in sessions of their own: signals to its process group do not reach them. They
 * are found by the chain of parents, which is there as long as the program is.
 */
export class Strays {
  /** The session that each was met in: an ID is used again. */
  #sessions = new Map<number, number>();
  readonly #read: () => Promise<string | undefined>;

  /** `read` gives what {@linkcode PROCESS_TABLE} prints. */
  constructor(read: () => Promise<string | undefined>) {
    this.#read = read;
  }

  /** Finds none where the permissions do not allow it. */
  async look(pid: number): Promise<void> {
    const text = await this.#read().catch(() => undefined);
    if (text === undefined) return;
    const table = parseProcessTable(text);
    const known = [...this.#sessions].filter(([each, session]) => table.get(each)?.session === session);
    const found = withDescendants([pid, ...known.map(([each]) => each)], table);
    const outside = [...found].filter((each) => each > 1 && (table.get(each)?.session ?? pid) !== pid);
    this.#sessions = new Map(outside.map((each) => [each, table.get(each)?.session ?? 0]));
  }

  signal(name: "SIGTERM" | "SIGKILL"): void {
    for (const pid of this.#sessions.keys()) {
      try {
        Deno.kill(pid, name);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable)) throw error;
      }
    }
  }
}
