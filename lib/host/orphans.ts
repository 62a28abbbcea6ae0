import { HostError, pause, type RunCommand, runCommand } from "./command.ts";

const GRACE_MS = 2_000;
/** A busy machine may take its time to end what it was told to end. */
const KILLED_MS = 30_000;
const POLL_MS = 20;

/**
 * Ends every process whose environment has this entry: TERM, two seconds later KILL. So what a
 * killed process left running is found again without a record of its process IDs, which would be
 * written too late by exactly the moment that matters. Gives the process IDs that it met.
 *
 * Permissions: unscoped `--allow-run`.
 *
 * @throws {HostError} if one is still there after KILL
 */
export async function endOrphans(
  entry: `${string}=${string}`,
  run: RunCommand = runCommand,
): Promise<readonly number[]> {
  const met = await findByEnvironment(entry, run);
  if (met.length === 0) return [];
  sendSignal(met, "SIGTERM");
  if (await goneWithin(GRACE_MS, entry, run)) return met;
  sendSignal(await findByEnvironment(entry, run), "SIGKILL");
  if (await goneWithin(KILLED_MS, entry, run)) return met;
  const pids = met.join(", ");
  throw new HostError(`Cannot end the processes ${pids} of an interrupted run: still there after KILL`);
}

/** The processes whose environment has exactly this entry. */
export async function findByEnvironment(
  entry: string,
  run: RunCommand = runCommand,
): Promise<readonly number[]> {
  // grep opens the files: this process may not. Processes come and go meanwhile, hence -s.
  const { stdout } = await run({
    program: "sh",
    args: ["-c", 'grep -lszxF -e "$1" /proc/[0-9]*/environ', "sh", entry],
  });
  return stdout.split("\n").flatMap((path) => {
    const pid = Number(path.split("/")[2]);
    // Whoever exported the variable and called us is no orphan.
    return Number.isInteger(pid) && pid > 1 && pid !== Deno.pid && pid !== Deno.ppid ? [pid] : [];
  });
}

/**
 * Prints the leaders of sessions whose environment has one of the entries in $1, and of whose standard output, a pipe,
 * their parent has no end. Whoever starts a program in a session of its own to hear its answer is its parent, and holds
 * the other end until then; when that process is killed, its children get another parent.
 */
const UNHEARD = `
for file in $(grep -lszxF -e "$1" /proc/[0-9]*/environ); do
  pid=\${file#/proc/} pid=\${pid%/environ}
  stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
  set -- \${stat##*) }
  [ "$4" = "$pid" ] || continue
  output=$(readlink "/proc/$pid/fd/1") || continue
  case $output in pipe:*) ;; *) continue ;; esac
  ls -l "/proc/$2/fd" 2>/dev/null | grep -qF -e "$output" || echo "$pid"
done`;

/**
 * Ends every process group whose leader has one of these entries in its environment and answers to nobody any more,
 * since the process that had started it was killed: TERM, at the latest two seconds later KILL. Gives the process IDs of
 * the leaders that it met.
 *
 * Permissions: unscoped `--allow-run`.
 *
 * @throws The reason of `signal`, if that fires first: then some may be left
 */
export async function endUnheard(
  entries: readonly `${string}=${string}`[],
  run: RunCommand = runCommand,
  signal?: AbortSignal,
): Promise<readonly number[]> {
  const met = await findUnheard(entries, run);
  if (met.length === 0) return [];
  const groups = met.map((pid) => -pid);
  const goneWithin = async (ms: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end && (await findUnheard(entries, run)).some((pid) => met.includes(pid))) {
      await pause(POLL_MS, signal);
    }
  };
  sendSignal(groups, "SIGTERM");
  await goneWithin(GRACE_MS);
  // Also for what a leader has left of its group.
  sendSignal(groups, "SIGKILL");
  await goneWithin(KILLED_MS);
  return met;
}

async function findUnheard(entries: readonly string[], run: RunCommand): Promise<readonly number[]> {
  const { stdout } = await run({ program: "sh", args: ["-c", UNHEARD, "sh", entries.join("\n")] });
  return stdout.split("\n").filter((line) => line !== "").map(Number).filter((pid) => pid > 1);
}

function sendSignal(pids: readonly number[], signal: Deno.Signal): void {
  for (const pid of pids) {
    try {
      Deno.kill(pid, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

async function goneWithin(ms: number, entry: string, run: RunCommand): Promise<boolean> {
  const end = performance.now() + ms;
  while ((await findByEnvironment(entry, run)).length > 0) {
    if (performance.now() > end) return false;
    await pause(POLL_MS);
  }
  return true;
}
