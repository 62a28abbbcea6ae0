import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import type { ContainerLocks } from "../network/container_lock.ts";
import type { Attachments } from "../network/network.ts";
import type { Timeouts } from "../plugin/deadline.ts";
import type { PodNetworks } from "../pod/pod.ts";
import type { SandboxStore } from "./record.ts";

/** What sandboxes are made, looked at and taken down with. */
export interface SandboxParts {
  readonly sandboxes: SandboxStore;
  readonly locks: ContainerLocks;
  readonly attachments: Attachments;
  readonly pods: PodNetworks;
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
  readonly log: Logger;
}
