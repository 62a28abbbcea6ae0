import { parseProcessTable, withDescendants } from "./process_table.ts";

/**
 * The processes that a hung program has started in other sessions: signals to its process group do not reach them. The chain
 * of parents leads to them, which exists as long as the program does.
 */
export class Strays {
  /** The session of each when it was found: IDs are used again. */
  #sessions = new Map<number, number>();
  readonly #read: () => Promise<string | undefined>;

  /** `read` returns the output of {@linkcode PROCESS_TABLE}. */
  constructor(read: () => Promise<string | undefined>) {
    this.#read = read;
  }

  /** Finds the processes; none if the permissions do not allow it. */
  async find(pid: number): Promise<void> {
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
