import { delay } from "../async/wait.ts";
import { DEFAULT_PATH, HostError, type RunCommand, runCommand, runningAs } from "./command.ts";
import { listDir, readTextIfThere, removeIfThere, statOf } from "./file.ts";
import { tryLockFile } from "./lock.ts";
import { parseProcessTable, PROCESS_TABLE, type ProcessEntry, withDescendants } from "./process_table.ts";
import { killProcesses, signalProcesses } from "./strays.ts";

/** The variable that marks a program that podwire started, and the programs that it starts. */
export const CALL_VARIABLE = "PODWIRE_CALL";

/** The purpose of a running program. */
export interface Purpose {
  /** The object that it works on, such as the ID of a container. */
  readonly subject: string;
  readonly task: string;
}

/** A program whose caller was killed. */
interface Abandoned {
  readonly id: string;
  readonly path: string;
  /** Undefined if the caller was killed before it wrote the ID. */
  readonly pid: number | undefined;
}

const GRACE_MS = 2_000;
/** On a busy machine a process may end late after a signal. */
const KILLED_MS = 30_000;
const POLL_MS = 20;
const ATTEMPTS = 5;
const LONGEST_NOTE = 4096;

/**
 * The programs that run for an installation, with one file for each, which its caller holds locked: a file without lock
 * belongs to a program whose caller was killed. The file has a random name, which the program gets in its environment, so
 * that neither an equal subject of another installation nor a copy of an environment is mistaken for it.
 */
export class RunningPrograms {
  readonly #dir: string;
  readonly #run: RunCommand;

  /** The files are below `runDir`, which belongs to this installation alone. */
  constructor(runDir: string, run: RunCommand = runCommand) {
    this.#dir = `${runDir}/calls`;
    this.#run = run;
  }

  /**
   * Returns a function that keeps a file for each program while it runs. Without a file, if none can be written, the program
   * still runs, but cannot be found later.
   */
  noting(run: RunCommand, purpose: Purpose): RunCommand {
    return runningAs(run, async (request) => {
      const note = this.#begin(purpose);
      if (note === undefined) return await run(request);
      const env = { ...request.env ?? { PATH: DEFAULT_PATH, LC_ALL: "C" }, [CALL_VARIABLE]: note.id };
      const onStart = (pid: number) => {
        note.started(pid);
        request.onStart?.(pid);
      };
      try {
        return await run({ ...request, env, onStart });
      } finally {
        note.end();
      }
    });
  }

  /**
   * Ends the programs with that purpose whose callers were killed: TERM, two seconds later KILL. Each one ends with its
   * session, and with the processes that it or its session started in other sessions, as far as the chain of parents shows
   * that. A process that left both is a daemon, and is left alone, as are those of other users. Returns the IDs of the
   * processes that it found.
   *
   * Permissions: unscoped `--allow-run`, `--allow-read` and `--allow-write` of the directory.
   *
   * @throws {HostError} If one still runs after KILL.
   * @throws The reason of `signal`, if that fires first; then some may still run.
   */
  async endAbandoned(
    isWanted: (purpose: Purpose) => boolean,
    signal?: AbortSignal,
  ): Promise<readonly number[]> {
    const abandoned = await this.#abandoned(isWanted);
    if (abandoned.length === 0) return [];
    const search = new ProcessSearch(abandoned, this.#run);
    const found = await search.find();
    if (found.length > 0) {
      signalProcesses(found, "SIGTERM");
      if (!await goneWithin(GRACE_MS, search, signal)) {
        await killProcesses(() => search.find());
        if (!await goneWithin(KILLED_MS, search, signal)) {
          const pids = (await search.find()).join(", ");
          throw new HostError(
            `Cannot end the processes ${pids} of an interrupted run: still there after KILL`,
          );
        }
      }
    }
    for (const { path } of abandoned) await removeIfThere(path);
    return found;
  }

  /** As {@linkcode endAbandoned}, for all programs of one subject. The caller holds the lock of the subject. */
  async endAbandonedOf(subject: string, signal?: AbortSignal): Promise<readonly number[]> {
    return await this.endAbandoned((purpose) => purpose.subject === subject, signal);
  }

  /** Whether a killed caller may have left a program. */
  async hasAbandoned(): Promise<boolean> {
    return (await this.#abandoned(() => true)).length > 0;
  }

  async #abandoned(isWanted: (purpose: Purpose) => boolean): Promise<readonly Abandoned[]> {
    const found: Abandoned[] = [];
    for (const id of await listDir(this.#dir)) {
      const path = `${this.#dir}/${id}`;
      // Only files were made here.
      if ((await statOf(path))?.isFile === false) continue;
      // Shared, so that two concurrent searches do not take each other for the caller.
      using lock = await tryLockFile(path, { shared: true, create: false });
      if (lock === undefined) continue;
      const note = await readNote(path);
      // Its caller was killed before it started a program; a caller that still lives makes another file.
      if (note === undefined) await removeIfThere(path);
      else if (isWanted(note)) found.push({ id, path, pid: note.pid });
    }
    return found;
  }

  #begin(purpose: Purpose): Note | undefined {
    try {
      Deno.mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const note = Note.make(this.#dir, purpose);
        if (note !== undefined) return note;
      }
    } catch {
      // No permission, no space, no directory: to run the program matters more than its file.
    }
    return undefined;
  }
}

/** The file of a running program. Written synchronously: nothing may happen between the start and the file. */
class Note {
  readonly id: string;
  readonly #path: string;
  readonly #file: Deno.FsFile;

  private constructor(id: string, path: string, file: Deno.FsFile) {
    this.id = id;
    this.#path = path;
    this.#file = file;
  }

  /** Undefined if another process, which searches for abandoned programs, took the file for one of them. */
  static make(dir: string, purpose: Purpose): Note | undefined {
    const id = crypto.randomUUID();
    const path = `${dir}/${id}`;
    const file = Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
    const note = new Note(id, path, file);
    try {
      if (file.tryLockSync(true)) {
        file.writeSync(new TextEncoder().encode(`${JSON.stringify(purpose)}\n`));
        const there = Deno.statSync(path);
        if (there.ino === file.statSync().ino) return note;
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) {
        note.end();
        throw error;
      }
    }
    note.end();
    return undefined;
  }

  started(pid: number): void {
    try {
      this.#file.writeSync(new TextEncoder().encode(`${pid}\n`));
    } catch {
      // The disk is full: then every process with the mark counts as one of this program.
    }
  }

  end(): void {
    try {
      Deno.removeSync(this.#path);
    } catch {
      // It is gone, or cannot be removed: no program runs with that name.
    }
    // Closing is not enough: a child that is starting holds a copy of the descriptor until its program is loaded.
    this.#file.unlockSync();
    this.#file.close();
  }
}

async function readNote(path: string): Promise<Purpose & { pid: number | undefined } | undefined> {
  try {
    if (((await statOf(path))?.size ?? 0) > LONGEST_NOTE) return undefined;
    const [head = "", pid] = (await readTextIfThere(path) ?? "").split("\n");
    // The JSON may be anything, `null` too.
    const { subject, task } = JSON.parse(head) ?? {};
    if (typeof subject !== "string" || typeof task !== "string") return undefined;
    return { subject, task, pid: /^\d+$/.test(pid ?? "") ? Number(pid) : undefined };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Searches the processes that abandoned programs left. */
class ProcessSearch {
  readonly #abandoned: readonly Abandoned[];
  readonly #run: RunCommand;
  /** Found before, with the session of each: after its parent has ended, no chain of parents leads to it. */
  readonly #known = new Map<number, number>();

  constructor(abandoned: readonly Abandoned[], run: RunCommand) {
    this.#abandoned = abandoned;
    this.#run = run;
  }

  /** Returns the processes that exist now. */
  async find(): Promise<readonly number[]> {
    const entries = this.#abandoned.map(({ id }) => `${CALL_VARIABLE}=${id}`);
    const marked = await findMarked(entries, this.#run);
    if (marked.size === 0 && this.#known.size === 0) return [];
    const { stdout } = await this.#run({ program: "sh", args: ["-c", PROCESS_TABLE], ownGroup: false });
    const table = parseProcessTable(stdout);
    const own = table.get(Deno.pid)?.users[1];
    const isOwn = ({ users }: ProcessEntry) => users.length === 3 && users.every((user) => user === own);
    const callers = ancestorsOf(Deno.pid, table);
    const ours = new Map([...table].filter(([pid, entry]) => pid > 1 && !callers.has(pid) && isOwn(entry)));
    const roots = this.#abandoned.flatMap(({ id, pid }) => {
      const members = [...marked].filter(([, entry]) => entry === `${CALL_VARIABLE}=${id}`);
      return rootsOf(pid, members.map(([member]) => member).filter((member) => ours.has(member)), ours);
    });
    const known = [...this.#known].filter(([pid, session]) => ours.get(pid)?.session === session);
    const found = withDescendants([...roots, ...known.map(([pid]) => pid)], ours);
    this.#known.clear();
    for (const pid of found) this.#known.set(pid, ours.get(pid)?.session ?? 0);
    return [...this.#known.keys()];
  }
}

/**
 * Returns the roots of the process tree of a program, given the processes with its mark. A process with the mark, but in
 * another session, is a daemon that the program started: the mark alone is not a reason to end it.
 */
function rootsOf(
  pid: number | undefined,
  marked: readonly number[],
  table: ReadonlyMap<number, ProcessEntry>,
): readonly number[] {
  // The caller was killed during the start: no process with the mark had a caller that waited for it.
  if (pid === undefined) return marked;
  const isOf = (member: number) => member === pid || table.get(member)?.session === pid;
  if (!marked.some(isOf)) return [];
  return [...table.keys()].filter(isOf);
}

function ancestorsOf(pid: number, table: ReadonlyMap<number, ProcessEntry>): ReadonlySet<number> {
  const found = new Set<number>();
  for (let each: number | undefined = pid; each !== undefined && !found.has(each);) {
    found.add(each);
    each = table.get(each)?.parent;
  }
  return found;
}

/** Returns the processes whose environment has exactly one of these entries, each with the entry. */
async function findMarked(
  entries: readonly string[],
  run: RunCommand,
): Promise<ReadonlyMap<number, string>> {
  // grep opens the files, because this process may not. -s, because processes may end meanwhile.
  const { stdout } = await run({
    program: "sh",
    args: ["-c", 'grep -sHzxF -e "$1" /proc/[0-9]*/environ', "sh", entries.join("\n")],
    ownGroup: false,
  });
  return new Map(
    stdout.split("\0").flatMap((line) => {
      const [, pid, entry = ""] = line.match(/^\/proc\/(\d+)\/environ:([^]*)$/) ?? [];
      return pid === undefined ? [] : [[Number(pid), entry] as const];
    }),
  );
}

async function goneWithin(
  ms: number,
  search: ProcessSearch,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const end = performance.now() + ms;
  while ((await search.find()).length > 0) {
    if (performance.now() > end) return false;
    await delay(POLL_MS, signal);
  }
  return true;
}
