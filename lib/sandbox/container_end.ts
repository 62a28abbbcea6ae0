import type { RunCommand } from "../host/command.ts";
import { statOf } from "../host/file.ts";
import { netnsProcesses } from "../host/netns.ts";
import { isRunning, pidNamespace, type ProcessState, readProcesses } from "../host/process.ts";
import { inParallel } from "../async/parallel.ts";
import { hasContainer } from "./oci_runtime.ts";
import type { SandboxContainer } from "./container_record.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";

const READS_AT_ONCE = 16;

/** What is known of a container that does not run any more. */
export interface ContainerEnd {
  /** Whether its sandbox has to go, as no `poststop` hook will come. */
  readonly isOver: boolean;
  readonly why: string;
}

/** What containers are looked at with. */
export interface ContainerContext {
  readonly run: RunCommand;
  /** Where programs are looked for, as in the variable `PATH`. */
  readonly path: string;
}

/** Whether the container of a sandbox has ended, as far as its process tells, in words; undefined if it runs. */
export function containerProblem(
  { container, pid, pidStart: start }: SandboxRecord,
  processes: ReadonlyMap<number, ProcessState>,
): string | undefined {
  if (container === undefined || pid === undefined || isRunning(processes, { pid, start })) return undefined;
  return `its container has ended: its process ${pid} is gone`;
}

/**
 * What is known of the end of a sandbox's container; undefined if there is none, or it runs.
 *
 * A start that fails after `createRuntime`, for want of the program, by a later hook, or as the runtime was killed, is
 * not followed by `poststop` in every runtime. The network of a container goes when its process has ended, nothing else is
 * in its namespace, and its runtime has no such container. As long as the runtime has it, `poststop` is yet to come. Where
 * the runtime cannot be asked, the container is gone when its bundle is: no engine keeps one without the other.
 */
export async function containerEnd(
  record: SandboxRecord,
  { run, path }: ContainerContext,
  signal?: AbortSignal,
): Promise<ContainerEnd | undefined> {
  const { id, container, pid, netns } = record;
  if (container === undefined) return undefined;
  const look = { run, signal };
  const processes = await readProcesses(pid === undefined ? [] : [pid], look);
  const ended = pid === undefined ? "its container was stopped" : containerProblem(record, processes);
  if (ended === undefined) return undefined;
  const kept = (why: string): ContainerEnd => ({ isOver: false, why: `${ended}, but ${why}` });
  // In another one every process is gone.
  if (await pidNamespace(look) !== container.pidNamespace) {
    return kept("it belongs to another PID namespace, where it may be running");
  }
  const inside = await netnsProcesses(netns.path);
  if (inside.length > 0) return kept(`processes are in its namespace: ${inside.join(", ")}`);
  const isKnown = await knowsContainer(id, container, { run, path, signal });
  if (isKnown === true) {
    return kept("its OCI runtime still has it, and calls the hook once more when it deletes it");
  }
  if (isKnown === false) return { isOver: true, why: `${ended}, and its OCI runtime has no such container` };
  if (await statOf(`${container.bundle}/config.json`) === undefined) {
    return { isOver: true, why: `${ended}, and its bundle ${container.bundle} is gone` };
  }
  return kept(`its OCI runtime cannot be asked, and its bundle ${container.bundle} is there`);
}

/** Whether a sandbox has to go as its container is gone; that of one without a container has not. */
export async function isContainerGone(
  id: string,
  parts: ContainerContext & Pick<SandboxContext, "sandboxes">,
): Promise<boolean> {
  if (!await parts.sandboxes.containers.has(id)) return false;
  const record = await parts.sandboxes.read(id);
  return record !== undefined && (await containerEnd(record, parts))?.isOver === true;
}

/** The IDs of the sandboxes whose container has ended, with one look at the processes of all. */
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

async function knowsContainer(
  id: string,
  { runtime }: SandboxContainer,
  options: ContainerContext & { readonly signal?: AbortSignal | undefined },
): Promise<boolean | undefined> {
  return runtime === undefined ? undefined : await hasContainer(id, runtime, options);
}
