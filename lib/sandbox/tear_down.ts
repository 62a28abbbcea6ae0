import type { RunCommand } from "../host/command.ts";
import { netnsId, removeNetns } from "../host/netns.ts";
import type { DamagedOutcome, DamagedRecords } from "../gc/damaged_attachments.ts";
import type { LostAttachment } from "../state/lost_attachments.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { PodNetworks, PodTearDownOptions } from "../pod/pod.ts";
import { CniError } from "../cni/error.ts";
import { stopInfra } from "./infra.ts";
import { requireOwnBundle } from "./infra_bundle.ts";
import { isUnchanged } from "./netns_identity.ts";
import { runFor, type SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import { restoreSysctls } from "./sysctl.ts";

/** What things of the host are taken down with. */
type HostParts = Pick<SandboxContext, "run" | "running" | "path" | "timeouts">;

/** How {@linkcode tearDown} goes about it. */
export interface TearDownOptions extends PodTearDownOptions {
  /** Its attachments whose records are lost, where they were looked for. @default {they are looked for} */
  readonly lost?: readonly LostAttachment[] | undefined;
}

/** What taking down came to. */
export interface TornDown {
  /** All that failed. */
  readonly failures: readonly CniError[];
  /** What became of attachments whose records cannot be used, or are lost. */
  readonly damaged: readonly DamagedOutcome[];
  /** What is left of the host's things, of which only the sandbox knows, and why; undefined if nothing is. */
  readonly left: string | undefined;
}

/**
 * Takes down what a sandbox has: its networks, last attachment first, its infra container, and its
 * namespace if podwire made it: the container holds the namespace, and so outlives the networks. It goes on after a
 * failure and gives all of them; a network that could not be detached stays among the attachments.
 *
 * The caller holds the container's lock.
 *
 * @throws {CniError} kind `conflict` if a newer version made its infra container: then nothing is taken down
 */
export async function tearDown(
  record: SandboxRecord,
  parts: HostParts & { readonly pods: PodNetworks; readonly damaged: DamagedRecords },
  options: TearDownOptions = {},
): Promise<TornDown> {
  const { signal, lost, attachedOnly = false } = options;
  if (record.infra !== undefined) await requireOwnBundle(record.infra.bundle);
  const failures = await parts.pods.tearDown(record.id, options);
  // What was cut short has failed for now; the rest waits for another call, or for recovery.
  signal?.throwIfAborted();
  const damaged = attachedOnly
    ? []
    : await parts.damaged.removeUnused(record.id, { isUp: false, netns: record.netns, lost, signal });
  signal?.throwIfAborted();
  const host = await tearDownHost(record, parts);
  return { ...host, damaged, failures: [...failures, ...damaged.flatMap(failureOf), ...host.failures] };
}

function failureOf(
  { became, why, error, network, containerId, ifName }: DamagedOutcome,
): readonly CniError[] {
  if (became !== "failed") return [];
  return [error ?? new CniError("io", why, { verb: "DEL", network, containerId, ifName })];
}

/** As {@linkcode tearDown}, without the networks. Where nothing is left, nothing is run. */
export async function tearDownHost(
  record: SandboxRecord,
  parts: HostParts,
): Promise<Omit<TornDown, "damaged">> {
  const failures: CniError[] = [];
  const { path, timeouts } = parts;
  const host = { run: runFor(parts, record.id) };
  if (record.infra !== undefined) {
    await stopInfra({ id: record.id, ...record.infra }, { ...host, path, timeoutMs: timeouts.DEL }).catch(
      (error) => {
        failures.push(asCniError(error));
      },
    );
  }
  if (record.netns.owned && await isStillOurs(record)) {
    await removeNetns(record.netns.path, host).catch((error) => {
      failures.push(asCniError(error));
    });
  }
  await giveSysctlsBack(record, host.run).catch((error) => {
    failures.push(asCniError(error));
  });
  const words = failures.map(({ message }) => message).join("; ");
  return { failures, left: words === "" ? undefined : words };
}

/** Of a run that was cut short. */
async function giveSysctlsBack(
  { netns, sysctls = {}, sysctlsBefore: before }: SandboxRecord,
  run: RunCommand,
): Promise<void> {
  if (before === undefined || netns.id === undefined || !await isUnchanged(netns)) return;
  await restoreSysctls(netns.path, { sysctls, before }, run);
}

/** Somebody may have made a namespace of their own under the path since. */
async function isStillOurs({ netns }: SandboxRecord): Promise<boolean> {
  return netns.id === undefined || await netnsId(netns.path) === undefined || await isUnchanged(netns);
}
