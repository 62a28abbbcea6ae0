import type { RunCommand } from "../host/command.ts";
import { isRunning, readProcesses } from "../host/process.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";

/** What processes are looked at with. */
interface Look {
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
}

/**
 * When the process was started whose namespace is to be used.
 *
 * @throws {CniError} kind `not-found` if there is none of that ID
 */
export async function startOf(pid: number, { run, signal }: Look): Promise<number> {
  const seen = (await readProcesses([pid], { run, signal })).get(pid);
  if (seen === undefined || seen.isZombie) throw gone(pid, "there is no such process");
  return seen.start;
}

/**
 * Makes sure, once its namespace is pinned, that it was that of the process that was meant: an ID is used again when
 * its process has ended. From then on the process may end.
 *
 * @throws {CniError} kind `not-found` if the process has ended or is another one
 */
export async function requireSameProcess(
  { pid, start }: { readonly pid: number; readonly start: number | undefined },
  { run, signal }: Look,
): Promise<void> {
  const seen = await readProcesses([pid], { run, signal });
  if (isRunning(seen, { pid, start })) return;
  const isOther = seen.get(pid)?.start !== start && seen.has(pid);
  throw gone(pid, isOther ? "it has ended, and another process has its ID now" : "it has ended meanwhile");
}

function gone(pid: number, problem: string): CniError {
  return new CniError("not-found", `Cannot use the network namespace of process ${pid}: ${problem}`, {
    code: ERROR_CODES.invalidNetns,
  });
}
