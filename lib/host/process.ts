import { type RunCommand, runCommand } from "./command.ts";
import { readKernelFiles } from "./kernel_file.ts";

/** A process as the kernel shows it. */
export interface ProcessState {
  /** In clock ticks since the machine started; distinguishes the process from a later one with the same ID. */
  readonly start: number;
  /** Whether it has ended and its parent has not noticed. */
  readonly isZombie: boolean;
}

/** Options of {@linkcode readProcesses}. */
export interface ReadProcessesOptions {
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The process ID, the state and the start time in a line of `/proc/<pid>/stat`. The name of the program may contain any
 * character, line ends and parentheses too, but is too short for as many numbers as follow it.
 */
const STAT = /(\d+) \([^]{0,64}?\) (\S)(?: -?\d+){18} (\d+)(?: -?\d+){30,}\n/gy;

/**
 * Returns the processes that exist, by their IDs; at most one program reads all of them. Because IDs are used again, compare `start`
 * with the known one.
 *
 * Requires as `readKernelFiles`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readProcesses } from "./process.ts";
 *
 * const processes = await readProcesses([Deno.pid]);
 * assertEquals(processes.get(Deno.pid)?.isZombie, false);
 * ```
 */
export async function readProcesses(
  pids: readonly number[],
  { run = runCommand, signal }: ReadProcessesOptions = {},
): Promise<ReadonlyMap<number, ProcessState>> {
  const wanted = [...new Set(pids)];
  if (wanted.length === 0) return new Map();
  const text = await readKernelFiles(wanted.map((pid) => `/proc/${pid}/stat`), { run, signal });
  const found = [...text.matchAll(STAT)].map(([, pid, state = "", start]) =>
    [Number(pid), { start: Number(start), isZombie: "ZXx".includes(state) }] as const
  );
  return new Map(found);
}

/** Whether exactly this process runs; if its start is unknown, whether any process with its ID runs. */
export function isRunning(
  processes: ReadonlyMap<number, ProcessState>,
  { pid, start }: { readonly pid: number; readonly start: number | undefined },
): boolean {
  const found = processes.get(pid);
  return found !== undefined && !found.isZombie && (start === undefined || found.start === start);
}

/** A program as it was started. */
export interface StartedCommand {
  /** The file that runs, as an absolute path. */
  readonly program: string;
  /** The first one is the name that it was called by. */
  readonly args: readonly string[];
}

/**
 * Returns the command that a process runs, if the process exists and its file has a path.
 *
 * Requires `--allow-run=cat,readlink`; only root sees the program of another user's process.
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
  // runc may run from a copy of itself in memory.
  const hasPath = program.startsWith("/") && !program.startsWith("/memfd:") &&
    !program.endsWith(" (deleted)");
  const [called = ""] = args;
  if (hasPath) return { program, args };
  return called.startsWith("/") ? { program: called, args } : undefined;
}

/** Returns the PID namespace of this process; process IDs of a record are valid here only if it has the same one. */
export async function pidNamespace({ run = runCommand, signal }: ReadProcessesOptions = {}): Promise<string> {
  const { stdout } = await run({
    program: "readlink",
    args: ["/proc/self/ns/pid"],
    ownGroup: false,
    signal,
  });
  return stdout.trim();
}
