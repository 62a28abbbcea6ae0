import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { DamagedOutcome, DamagedRecords } from "../gc/damaged_attachments.ts";
import type { RunCommand } from "../host/command.ts";
import { netnsId } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { PodNetworks, PodTearDownOptions } from "../pod/pod.ts";
import type { LostAttachment } from "../state/lost_attachments.ts";
import { runFor, type SandboxContext } from "./context.ts";
import { stopInfra } from "./infra.ts";
import { requireOwnBundle } from "./infra_bundle.ts";
import { isUnchanged } from "./netns_identity.ts";
import { removeNetworkStatus } from "./network_status_file.ts";
import type { SandboxRecord } from "./record.ts";
import { restoreSysctls } from "./sysctl.ts";

/** The dependencies of {@linkcode tearDownHost}. */
type HostContext = Pick<SandboxContext, "run" | "running" | "path" | "timeouts">;

/** Options of {@linkcode tearDown}. */
export interface TearDownOptions extends PodTearDownOptions {
  /** Its attachments whose records are lost, if the caller has looked for them. @default {`tearDown` looks for them} */
  readonly lost?: readonly LostAttachment[] | undefined;
}

/** Result of a tear-down. */
export interface TearDownResult {
  /** All failures. */
  readonly failures: readonly CniError[];
  /** Outcomes for attachments whose records cannot be used, or are lost. */
  readonly damaged: readonly DamagedOutcome[];
  /** Why the infra container, the namespace or sysctls are left, which only the sandbox record refers to; undefined if nothing is left. */
  readonly left: string | undefined;
}

/**
 * Tears down a sandbox: its networks, last attachment first, its infra container, and its namespace if podwire created it.
 * The container holds the namespace, and so is ended after the networks. A failure does not stop the rest, and all failures
 * are returned; a network that could not be detached stays among the attachments.
 *
 * The caller holds the container's lock.
 *
 * @throws {CniError} kind `conflict` if a newer version created its infra container: then nothing is torn down
 */
export async function tearDown(
  record: SandboxRecord,
  context:
    & HostContext
    & Pick<SandboxContext, "inside" | "stateDir" | "log">
    & { readonly pods: PodNetworks; readonly damaged: DamagedRecords },
  options: TearDownOptions = {},
): Promise<TearDownResult> {
  const { signal, lost, attachedOnly = false } = options;
  if (record.infra !== undefined) await requireOwnBundle(record.infra.bundle);
  // First: the others must not find the sandbox by its name any more.
  await context.inside.remove(record.id);
  removeNetworkStatus(record.id, context);
  const failures = await context.pods.tearDown(record.id, options);
  // After a cancellation, the rest waits for another call or for recovery.
  signal?.throwIfAborted();
  const damaged = attachedOnly
    ? []
    : await context.damaged.removeUnused(record.id, { isUp: false, netns: record.netns, lost, signal });
  signal?.throwIfAborted();
  const host = await tearDownHost(record, context);
  return { ...host, damaged, failures: [...failures, ...damaged.flatMap(failureOf), ...host.failures] };
}

function failureOf(
  { became, why, error, network, containerId, ifName }: DamagedOutcome,
): readonly CniError[] {
  if (became !== "failed") return [];
  return [error ?? new CniError("io", why, { verb: "DEL", network, containerId, ifName })];
}

/** As {@linkcode tearDown}, without the networks. Runs no program if nothing is left. */
export async function tearDownHost(
  record: SandboxRecord,
  context: HostContext,
): Promise<Omit<TearDownResult, "damaged">> {
  const failures: CniError[] = [];
  const { path, timeouts } = context;
  const host = { run: runFor(context, record.id) };
  if (record.infra !== undefined) {
    await stopInfra({ id: record.id, ...record.infra }, { ...host, path, timeoutMs: timeouts.DEL }).catch(
      (error) => {
        failures.push(asCniError(error));
      },
    );
  }
  if (record.netns.owned && await mayRemoveNetns(record)) {
    await kernelFor(host.run).removeNetns(record.netns.path).catch((error) => {
      failures.push(asCniError(error));
    });
  }
  await restoreBorrowedNetns(record, host.run).catch((error) => {
    failures.push(asCniError(error));
  });
  const left = failures.map(({ message }) => message).join("; ");
  return { failures, left: left === "" ? undefined : left };
}

/** Restores the sysctls of a borrowed namespace after an interrupted run. */
async function restoreBorrowedNetns(
  { netns, sysctls = {}, sysctlsBefore: before }: SandboxRecord,
  run: RunCommand,
): Promise<void> {
  if (before === undefined || netns.id === undefined || !await isUnchanged(netns)) return;
  await restoreSysctls(netns.path, { sysctls, before }, kernelFor(run));
}

/** Whether the path still leads to the namespace of the sandbox. Another program may have created its own namespace at the path. */
async function mayRemoveNetns({ netns }: SandboxRecord): Promise<boolean> {
  return netns.id === undefined || await netnsId(netns.path) === undefined || await isUnchanged(netns);
}
