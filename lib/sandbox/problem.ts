import { nsProblem } from "../host/netns.ts";
import { isRunning, type ProcessState, readProcesses } from "../host/process.ts";
import { containerProblem } from "./container_end.ts";
import type { SandboxContext } from "./context.ts";
import { isUnchanged } from "./netns_identity.ts";
import { isInTransition, type SandboxRecord, type TransitionPhase } from "./record.ts";

/** Descriptions of the operations, in progress and interrupted. */
export const OPERATIONS = {
  creating: { now: "it is being created, or undone", was: "created" },
  stopping: { now: "it is being torn down", was: "torn down" },
  removing: { now: "it is being removed", was: "removed" },
} as const satisfies Record<TransitionPhase, unknown>;

/** Processes by their IDs. */
export type Processes = ReadonlyMap<number, ProcessState>;

/** Reads the processes of the sandboxes; those of stopped sandboxes are not read. */
export async function processesOf(
  records: readonly SandboxRecord[],
  { run }: Pick<SandboxContext, "run">,
  signal?: AbortSignal,
): Promise<Processes> {
  const pids = records.flatMap(({ pid, phase }) => pid === undefined || phase === "stopped" ? [] : [pid]);
  return await readProcesses(pids, { run, signal });
}

/** Whether the process of a sandbox runs. */
export function isProcessRunning({ pid, pidStart: start }: SandboxRecord, processes: Processes): boolean {
  return pid !== undefined && isRunning(processes, { pid, start });
}

/**
 * Returns why the infra container of a sandbox does not hold it any more; undefined if it does, or there is none. If the
 * namespace was borrowed from a process, that process may exit: the pinned path keeps the namespace alive.
 */
export async function infraProblem(
  record: SandboxRecord,
  context: Pick<SandboxContext, "run">,
  processes?: Processes,
): Promise<string | undefined> {
  const { infra, pid } = record;
  if (infra === undefined || pid === undefined) return undefined;
  return infraEnd(record, processes ?? await processesOf([record], context));
}

function infraEnd(record: SandboxRecord, known: Processes): string | undefined {
  const { infra, pid, pidStart: start } = record;
  if (infra === undefined || pid === undefined || isProcessRunning(record, known)) return undefined;
  const current = known.get(pid);
  const isOther = current !== undefined && start !== undefined && current.start !== start;
  const now = isOther ? `; another process has the ID ${pid} now` : "";
  return `its infra container has ended: its process ${pid} is gone${now}`;
}

/** Returns which process that a sandbox ends with has ended. */
export function endOf(record: SandboxRecord, processes: Processes): string | undefined {
  return infraEnd(record, processes) ?? containerProblem(record, processes);
}

/**
 * Returns why a sandbox is broken, judged by its record, its namespace and its process; undefined if it is not. Call only
 * when no operation is in progress, or while holding the container's lock.
 */
export async function problemOf(
  record: SandboxRecord,
  context: Pick<SandboxContext, "attachments" | "run">,
  processes?: Processes,
): Promise<string | undefined> {
  const { phase, netns, bootId, reason, hostNetwork } = record;
  if (phase === "stopped") return reason;
  if (isInTransition(phase)) {
    return `it was interrupted while it was being ${OPERATIONS[phase].was}: \`podwire recover\` cleans it up`;
  }
  if (bootId !== await context.attachments.boot()) return "it belongs to another boot";
  const ended = endOf(record, processes ?? await processesOf([record], context));
  if (ended !== undefined) return ended;
  // The namespace of the host always exists, and this process may run in another namespace.
  if (hostNetwork) return undefined;
  if (await isUnchanged(netns)) return undefined;
  const problem = await nsProblem(netns.path);
  return problem === undefined ? `${netns.path} leads to another namespace now` : `${netns.path}: ${problem}`;
}
