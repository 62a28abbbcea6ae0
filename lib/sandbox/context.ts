import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import type { Locks } from "../state/locks.ts";
import type { DamagedRecords } from "../gc/damaged_attachments.ts";
import type { FailedBound } from "../attachment/failed_bound.ts";
import type { Attachments } from "../attachment/attachments.ts";
import type { Timeouts } from "../plugin/deadline.ts";
import { runWithContainerId } from "../plugin/run_with_container_id.ts";
import type { NetnsGuard } from "../plugin/netns_guard.ts";
import type { PodNetworks } from "../pod/pod.ts";
import type { SandboxStore } from "./store.ts";

/** What sandboxes are made, looked at and taken down with. */
export interface SandboxContext {
  readonly sandboxes: SandboxStore;
  readonly locks: Locks;
  readonly attachments: Attachments;
  readonly pods: PodNetworks;
  /** Attachments whose records cannot be used, or are lost. */
  readonly damaged: DamagedRecords;
  readonly netnsGuard: NetnsGuard;
  /** Bounds what the sandboxes of one pod may leave. */
  readonly failedBound: FailedBound;
  readonly cacheDir: string;
  readonly runDir: string;
  readonly netnsDir: string;
  /** What the names of new namespaces begin with; the ID follows. */
  readonly netnsPrefix: string;
  readonly stateDir: string;
  /** Where programs are looked for, as in the variable `PATH`. */
  readonly path: string;
  /** Those of ADD and DEL are also the ones of OCI runtimes. */
  readonly timeouts: Timeouts;
  readonly run: RunCommand;
  /** Where what runs for a sandbox is noted. */
  readonly running: RunningPrograms;
  readonly log: Logger;
}

/** Runs programs for one sandbox, such that they are found again when this process is killed. */
export function runFor({ run, running }: Pick<SandboxContext, "run" | "running">, id: string): RunCommand {
  return runWithContainerId(running.noting(run, { subject: id, task: "sandbox" }), id);
}
