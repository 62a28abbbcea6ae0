import { type RunCommand, runCommand } from "./command.ts";
import { statOf } from "./stat.ts";

/** A process that holds the lock of a file. */
export interface LockHolder {
  readonly pid: number;
  /** Its command line, cut if it is long; empty if it cannot be read. */
  readonly command: string;
  /** Whether it was stopped, as by SIGSTOP, and needs a SIGCONT to go on. */
  readonly isStopped: boolean;
}

/** A caller must not have to wait for the kernel. */
const LONGEST_READ_MS = 2_000;
const MOST_HOLDERS = 3;
const LONGEST_COMMAND = 120;

/** A line of `/proc/locks`: the process, and the device (in hexadecimal) and inode of the file. Waiting ones have "->". */
const LOCK = /^\d+: FLOCK +\S+ +\S+ +(\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) /gm;
/** The beginning of `/proc/<pid>/stat`; the name of the program may contain any character. */
const STAT = /^\d+ \([^]{0,64}?\) (\S)(?: -?\d+){30,}\n/;

/**
 * Returns the processes that hold the lock of a file, as flock(2) takes it; none if the kernel does not show them, or does
 * not answer at once. A lock that a process of another PID namespace holds has no process here.
 *
 * Permissions: `--allow-read` for the file and `--allow-run=cat`; files under `/proc` cannot be opened without full
 * permissions.
 */
export async function lockHolders(
  path: string,
  run: RunCommand = runCommand,
): Promise<readonly LockHolder[]> {
  try {
    const { dev, ino } = await statOf(path) ?? {};
    if (ino === undefined) return [];
    const locks = await readFiles(["/proc/locks"], run);
    const ofInode = [...locks.matchAll(LOCK)].filter(([, , , , inode]) => inode === String(ino));
    const ofDevice = ofInode.filter(([, , major = "", minor = ""]) => deviceOf(major, minor) === dev);
    // Some file systems report another device in stat(2) than the kernel shows for their locks.
    const pids = (ofDevice.length > 0 ? ofDevice : ofInode).map(([, pid]) => Number(pid));
    const known = [...new Set(pids)].filter((pid) => pid > 0).slice(0, MOST_HOLDERS);
    return await Promise.all(known.map((pid) => holder(pid, run)));
  } catch {
    // An error of the explanation must not end the waiting.
    return [];
  }
}

/** Describes the holders of a lock, as the end of a sentence such as "the lock is held by ...". */
export function describeHolders(holders: readonly LockHolder[]): string {
  if (holders.length === 0) return "a process that cannot be seen from here";
  return holders.map(({ pid, command, isStopped }) => {
    const own = pid === Deno.pid ? "another operation of this process" : `process ${pid}`;
    return `${own}${command === "" ? "" : ` (${command})`}${isStopped ? ", which is stopped" : ""}`;
  }).join(" and ");
}

async function holder(pid: number, run: RunCommand): Promise<LockHolder> {
  const text = await readFiles([`/proc/${pid}/stat`, `/proc/${pid}/cmdline`], run);
  const [stat = "", state = ""] = STAT.exec(text) ?? [];
  // deno-lint-ignore no-control-regex
  const command = text.slice(stat.length).replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim();
  const isLong = command.length > LONGEST_COMMAND;
  return {
    pid,
    command: isLong ? `${command.slice(0, LONGEST_COMMAND)}...` : command,
    isStopped: state.toUpperCase() === "T",
  };
}

async function readFiles(files: readonly string[], run: RunCommand): Promise<string> {
  const signal = AbortSignal.timeout(LONGEST_READ_MS);
  return (await run({ program: "cat", args: files, ownGroup: false, signal })).stdout;
}

/** Combines the numbers as `makedev` of the C library does. */
function deviceOf(majorHex: string, minorHex: string): number {
  const [major, minor] = [BigInt(`0x${majorHex}`), BigInt(`0x${minorHex}`)];
  const low = (minor & 0xffn) | ((major & 0xfffn) << 8n);
  return Number(low | ((minor & ~0xffn) << 12n) | ((major & ~0xfffn) << 32n));
}
