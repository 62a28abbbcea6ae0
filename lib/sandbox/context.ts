import type { Attachments } from "../attachment/attachments.ts";
import type { FailedLimit } from "../attachment/failed_limit.ts";
import type { DamagedRecords } from "../gc/damaged_attachments.ts";
import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import type { InsideFiles } from "../inside/inside_files.ts";
import type { Timeouts } from "../plugin/deadline.ts";
import type { NetnsGuard } from "../plugin/netns_guard.ts";
import { runWithContainerId } from "../plugin/run_with_container_id.ts";
import type { PodNetworks } from "../pod/pod.ts";
import type { Locks } from "../state/locks.ts";
import type { SandboxStore } from "./store.ts";

/** The dependencies of creating, viewing and tearing down sandboxes. */
export interface SandboxContext {
  readonly sandboxes: SandboxStore;
  readonly locks: Locks;
  readonly attachments: Attachments;
  readonly pods: PodNetworks;
  /** Recovers attachments whose records cannot be used, or are lost. */
  readonly damaged: DamagedRecords;
  /** The `hosts` and the `resolv.conf` of sandboxes. */
  readonly inside: InsideFiles;
  readonly netnsGuard: NetnsGuard;
  /** Limits how many failed attachments the sandboxes of one pod may leave. */
  readonly failedLimit: FailedLimit;
  readonly cacheDir: string;
  readonly runDir: string;
  readonly netnsDir: string;
  /** Prefix of the names of new namespaces; the ID follows. */
  readonly netnsPrefix: string;
  readonly stateDir: string;
  /** Search path of programs, in the format of the variable `PATH`. */
  readonly path: string;
  /** The timeouts of ADD and DEL also apply to OCI runtimes. */
  readonly timeouts: Timeouts;
  readonly run: RunCommand;
  /** Registers the programs that run for a sandbox. */
  readonly running: RunningPrograms;
  readonly log: Logger;
}

/** Returns a command runner for one sandbox that registers its programs, so that they are found if this process is killed. */
export function runFor({ run, running }: Pick<SandboxContext, "run" | "running">, id: string): RunCommand {
  return running.noting(runWithContainerId(run, id), { subject: id, task: "sandbox" });
}
