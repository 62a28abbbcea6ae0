import { inParallel } from "../async/parallel.ts";
import type { RunCommand } from "../host/command.ts";
import { statOf } from "../host/file.ts";
import { netnsProcesses } from "../host/netns.ts";
import { isRunning, pidNamespace, type ProcessState, readProcesses } from "../host/process.ts";
import type { SandboxContainer } from "./container_record.ts";
import type { SandboxContext } from "./context.ts";
import { hasContainer } from "./oci_runtime.ts";
import type { SandboxRecord } from "./record.ts";

const READS_AT_ONCE = 16;

/** The end of a container. */
export interface ContainerEnd {
  /** Whether its sandbox has to be torn down, because no `poststop` hook will follow. */
  readonly isOver: boolean;
  readonly why: string;
}

/** How containers are inspected. */
export interface ContainerContext {
  readonly run: RunCommand;
  /** Search path of programs, in the format of the variable `PATH`. */
  readonly path: string;
}

/** Returns that the container of a sandbox has ended, judged by its process; undefined if it runs. */
export function containerProblem(
  { container, pid, pidStart: start }: SandboxRecord,
  processes: ReadonlyMap<number, ProcessState>,
): string | undefined {
  if (container === undefined || pid === undefined || isRunning(processes, { pid, start })) return undefined;
  return `its container has ended: its process ${pid} is gone`;
}

/**
 * Returns what is known about the end of a sandbox's container; undefined if the sandbox has no container, or it runs.
 *
 * Not every runtime calls `poststop` if a start fails after `createRuntime`: because the program is missing, a later hook
 * fails, or the runtime is killed. The network of a container is torn down when its process has ended, no other process is in
 * its namespace, and its runtime does not have the container. As long as the runtime has it, `poststop` will follow. If the
 * runtime does not answer, the container is gone when its bundle is gone: no engine keeps one without the other.
 */
export async function containerEnd(
  record: SandboxRecord,
  { run, path }: ContainerContext,
  signal?: AbortSignal,
): Promise<ContainerEnd | undefined> {
  const { id, container, pid, netns } = record;
  if (container === undefined) return undefined;
  const options = { run, signal };
  const processes = await readProcesses(pid === undefined ? [] : [pid], options);
  const ended = pid === undefined ? "its container was stopped" : containerProblem(record, processes);
  if (ended === undefined) return undefined;
  const kept = (why: string): ContainerEnd => ({ isOver: false, why: `${ended}, but ${why}` });
  // From another PID namespace, every process seems to be gone.
  if (await pidNamespace(options) !== container.pidNamespace) {
    return kept("it belongs to another PID namespace, where it may be running");
  }
  const pids = await netnsProcesses(netns.path);
  if (pids.length > 0) return kept(`processes are in its namespace: ${pids.join(", ")}`);
  const exists = await isKnownToRuntime(id, container, { run, path, signal });
  if (exists === true) {
    return kept("its OCI runtime still has it, and calls the hook once more when it deletes it");
  }
  if (exists === false) return { isOver: true, why: `${ended}, and its OCI runtime has no such container` };
  if (await statOf(`${container.bundle}/config.json`) === undefined) {
    return { isOver: true, why: `${ended}, and its bundle ${container.bundle} is gone` };
  }
  return kept(`its OCI runtime does not answer, and its bundle ${container.bundle} is there`);
}

/** Whether a sandbox has to be torn down because its container is gone; false for a sandbox without a container. */
export async function isContainerGone(
  id: string,
  context: ContainerContext & Pick<SandboxContext, "sandboxes">,
): Promise<boolean> {
  if (!await context.sandboxes.containers.has(id)) return false;
  const record = await context.sandboxes.read(id);
  return record !== undefined && (await containerEnd(record, context))?.isOver === true;
}

/** Returns the IDs of the sandboxes whose container has ended; reads the processes of all at once. */
export async function endedContainers(
  { sandboxes, run }: Pick<SandboxContext, "sandboxes" | "run">,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const ids = await sandboxes.containers.all();
  const records = (await inParallel(ids, READS_AT_ONCE, (id) => sandboxes.read(id), signal))
    .filter((record) => record !== undefined);
  const pids = records.flatMap(({ pid }) => pid ?? []);
  const processes = await readProcesses(pids, { run, signal });
  return records.filter((record) => containerProblem(record, processes) !== undefined).map(({ id }) => id);
}

async function isKnownToRuntime(
  id: string,
  { runtime }: SandboxContainer,
  options: ContainerContext & { readonly signal?: AbortSignal | undefined },
): Promise<boolean | undefined> {
  return runtime === undefined ? undefined : await hasContainer(id, runtime, options);
}
