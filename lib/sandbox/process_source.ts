import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { RunCommand } from "../host/command.ts";
import { isRunning, readProcesses } from "../host/process.ts";

/** How processes are read. */
interface ReadOptions {
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns the start time of the process whose namespace is used.
 *
 * @throws {CniError} kind `not-found` if no process has that ID
 */
export async function startOf(pid: number, { run, signal }: ReadOptions): Promise<number> {
  const found = (await readProcesses([pid], { run, signal })).get(pid);
  if (found === undefined || found.isZombie) throw gone(pid, "there is no such process");
  return found.start;
}

/**
 * Checks after a namespace was pinned that it belongs to the intended process: an ID is reused when its process has ended.
 * After that the process may end.
 *
 * @throws {CniError} kind `not-found` if the process has ended or is another one
 */
export async function requireSameProcess(
  { pid, start }: { readonly pid: number; readonly start: number | undefined },
  { run, signal }: ReadOptions,
): Promise<void> {
  const processes = await readProcesses([pid], { run, signal });
  if (isRunning(processes, { pid, start })) return;
  const isOther = processes.get(pid)?.start !== start && processes.has(pid);
  throw gone(pid, isOther ? "it has ended, and another process has its ID now" : "it has ended meanwhile");
}

function gone(pid: number, problem: string): CniError {
  return new CniError("not-found", `Cannot use the network namespace of process ${pid}: ${problem}`, {
    code: ERROR_CODES.invalidNetns,
  });
}
