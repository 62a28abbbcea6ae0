import { type RunCommand, runCommand } from "./command.ts";

/** A process as the kernel shows it. */
export interface ProcessState {
  /** In clock ticks since the machine was started; by it a process is told from a later one that has its ID. */
  readonly start: number;
  /** It has ended, and its parent has not noticed. */
  readonly isZombie: boolean;
}

/** Options of {@linkcode readProcesses}. */
export interface ReadProcessesOptions {
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Of a line of `/proc/<pid>/stat`, the process ID, the state and the start time. The name of the program may hold
 * anything, line ends and parentheses too, but is too short to hold as many numbers as follow it.
 */
const STAT = /(\d+) \([^]{0,64}?\) (\S)(?: -?\d+){18} (\d+)(?: -?\d+){30,}\n/gy;

/**
 * Those of the processes that there are, by their IDs, with one program for all of them. As an ID is used again, compare
 * `start` with what was known before.
 *
 * Requires `--allow-run=cat`; files under `/proc` cannot be opened without full permissions.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { seeProcesses } from "./process.ts";
 *
 * const [own] = await seeProcesses([Deno.pid]);
 * assertEquals(own?.[1].isZombie, false);
 * ```
 */
export async function readProcesses(
  pids: readonly number[],
  { run = runCommand, signal }: ReadProcessesOptions = {},
): Promise<ReadonlyMap<number, ProcessState>> {
  const wanted = [...new Set(pids)];
  if (wanted.length === 0) return new Map();
  // Some may have ended, of which it only says that there is no such file.
  const { stdout } = await run({
    program: "cat",
    args: wanted.map((pid) => `/proc/${pid}/stat`),
    ownGroup: false,
    signal,
  });
  signal?.throwIfAborted();
  const seen = [...stdout.matchAll(STAT)].map(([, pid, state = "", start]) =>
    [Number(pid), { start: Number(start), isZombie: "ZXx".includes(state) }] as const
  );
  return new Map(seen);
}

/** Whether that very process is there and has not ended; of one whose start is not known, whether any of its ID is. */
export function isRunning(
  seen: ReadonlyMap<number, ProcessState>,
  { pid, start }: { readonly pid: number; readonly start: number | undefined },
): boolean {
  const there = seen.get(pid);
  return there !== undefined && !there.isZombie && (start === undefined || there.start === start);
}

/** A program as it was started. */
export interface StartedCommand {
  /** The file that runs, as an absolute path. */
  readonly program: string;
  /** With the name that it was called by. */
  readonly args: readonly string[];
}

/**
 * What a process runs, if there is such a process and its file has a path.
 *
 * Requires `--allow-run=cat,readlink`; the program of another user's process is seen by root alone.
 */
export async function commandOf(
  pid: number,
  { run = runCommand, signal }: ReadProcessesOptions = {},
): Promise<StartedCommand | undefined> {
  const more = { ownGroup: false, signal };
  const [exe, cmdline] = await Promise.all([
    run({ program: "readlink", args: [`/proc/${pid}/exe`], ...more }),
    run({ program: "cat", args: [`/proc/${pid}/cmdline`], ...more }),
  ]);
  signal?.throwIfAborted();
  const program = exe.stdout.trim();
  const args = cmdline.stdout.split("\0").slice(0, -1);
  // runc may run from a sealed copy in memory.
  const hasPath = program.startsWith("/") && !program.startsWith("/memfd:") &&
    !program.endsWith(" (deleted)");
  const [called = ""] = args;
  if (hasPath) return { program, args };
  return called.startsWith("/") ? { program: called, args } : undefined;
}

/** The PID namespace of this process, by which it is known whether process IDs of a record are those seen here. */
export async function pidNamespace({ run = runCommand, signal }: ReadProcessesOptions = {}): Promise<string> {
  const { stdout } = await run({
    program: "readlink",
    args: ["/proc/self/ns/pid"],
    ownGroup: false,
    signal,
  });
  return stdout.trim();
}
