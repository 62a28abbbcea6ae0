// Real processes, as tests look for them and as killed callers leave them.
import { runCommand } from "../lib/host/command.ts";
import { CALL_VARIABLE, type Purpose } from "../lib/host/running_programs.ts";

/** The processes whose environment has exactly this entry, without the caller. */
export async function findByEnvironment(entry: string): Promise<readonly number[]> {
  const { stdout } = await runCommand({
    program: "sh",
    args: ["-c", 'grep -lszxF -e "$1" /proc/[0-9]*/environ', "sh", entry],
  });
  const pids = stdout.split("\n").map((path) => Number(path.split("/")[2]));
  return pids.filter((pid) => pid > 1 && pid !== Deno.pid && pid !== Deno.ppid);
}

/**
 * The note of a program whose caller was killed; returns the entry that its processes have in their
 * environment.
 */
export async function leaveNote(
  runDir: string,
  purpose: Purpose,
  pid?: number,
  id: string = crypto.randomUUID(),
): Promise<string> {
  await Deno.mkdir(`${runDir}/calls`, { recursive: true });
  const text = `${JSON.stringify(purpose)}\n${pid === undefined ? "" : `${pid}\n`}`;
  await Deno.writeTextFile(`${runDir}/calls/${id}`, text);
  return `${CALL_VARIABLE}=${id}`;
}

/** A shell script that runs as the program of a killed caller does, in a session of its own. */
export interface AbandonedProgram extends AsyncDisposable {
  readonly pid: number;
  /** The entry that its processes have in their environment. */
  readonly entry: string;
  readonly status: Promise<Deno.CommandStatus>;
}

/** Starts such a program. Its disposal ends everything that has its mark. */
export async function abandonedProgram(
  runDir: string,
  purpose: Purpose,
  script: string,
  env: Readonly<Record<string, string>> = {},
): Promise<AbandonedProgram> {
  const id = crypto.randomUUID();
  const child = new Deno.Command("sh", {
    args: ["-c", script],
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env, [CALL_VARIABLE]: id },
    clearEnv: true,
    detached: true,
    stdin: "null",
  }).spawn();
  const entry = await leaveNote(runDir, purpose, child.pid, id);
  return {
    pid: child.pid,
    entry,
    status: child.status,
    [Symbol.asyncDispose]: async () => {
      await killAll(await findByEnvironment(entry));
      await child.status;
    },
  };
}

/** Whether a process exists and has not ended; its parent may not have noticed that. */
export async function isAlive(pid: number): Promise<boolean> {
  const args = ["-c", 'grep -qs "^State:.[^ZX]" "/proc/$1/status"', "sh", String(pid)];
  return (await runCommand({ program: "sh", args })).code === 0;
}

/** Kills those that still exist. */
export async function killAll(pids: readonly number[]): Promise<void> {
  if (pids.length === 0) return;
  await runCommand({ program: "sh", args: ["-c", 'kill -9 "$@" 2>/dev/null; :', "sh", ...pids.map(String)] });
}
