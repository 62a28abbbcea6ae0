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

  /** Looks for the processes, and returns them; none if the permissions do not allow to look. `pid` is that of the program, unless it has ended. */
  async find(pid?: number): Promise<readonly number[]> {
    const text = await this.#read().catch(() => undefined);
    if (text !== undefined) {
      const table = parseProcessTable(text);
      const known = [...this.#sessions].filter(([each, session]) => table.get(each)?.session === session);
      const roots = [...pid === undefined ? [] : [pid], ...known.map(([each]) => each)];
      const found = withDescendants(roots, table);
      const outside = [...found].flatMap((each) => table.get(each) ?? [])
        .filter(({ pid: each, session }) => each > 1 && session !== pid);
      this.#sessions = new Map(outside.map(({ pid: each, session }) => [each, session]));
    }
    return [...this.#sessions.keys()];
  }

  /** Asks those that were found to end. */
  terminate(): void {
    try {
      signalProcesses(this.#sessions.keys(), "SIGTERM");
    } catch (error) {
      unlessNotPermitted(error);
    }
  }

  /** Kills all of them, with those that they start meanwhile. `pid` is that of the program, unless it has ended. */
  async kill(pid?: number): Promise<void> {
    await killProcesses(() => this.find(pid)).catch(unlessNotPermitted);
  }
}

/** Without the permission, processes in other sessions are left. */
function unlessNotPermitted(error: unknown): void {
  if (!(error instanceof Deno.errors.NotCapable)) throw error;
}

/** A process that has a child at each look stays one of those; a few looks find all others. */
const MOST_LOOKS = 10;

/** Sends a signal to processes. One that has ended is passed over. Requires unscoped `--allow-run`. */
export function signalProcesses(pids: Iterable<number>, signal: Deno.Signal): void {
  for (const pid of pids) {
    try {
      Deno.kill(pid, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/**
 * Kills the processes that `find` returns, and those that they start meanwhile: they are stopped first, so that no process is
 * started after the last look. A child of a killed parent could not be found any more. Requires unscoped `--allow-run`.
 */
export async function killProcesses(find: () => Promise<readonly number[]>): Promise<void> {
  const stopped = new Set<number>();
  try {
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const started = (await find()).filter((pid) => !stopped.has(pid));
      if (started.length === 0) return;
      for (const pid of started) stopped.add(pid);
      signalProcesses(started, "SIGSTOP");
    }
  } finally {
    signalProcesses(stopped, "SIGKILL");
  }
}
