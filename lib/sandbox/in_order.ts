import { turnIfDue } from "../async/breathe.ts";
import { attachmentItem, emptyReport } from "../gc/report.ts";
import { removalReason } from "../gc/verdict.ts";
import { listDir } from "../host/file.ts";
import { readProcesses } from "../host/process.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import type { LostAttachment } from "../state/lost_attachments.ts";
import type { SandboxContext } from "./context.ts";
import { isDamaged } from "./damaged_record.ts";
import { infraBundle, infraBundles } from "./infra.ts";
import { newerBundle } from "./infra_bundle.ts";
import { isInTransition, type SandboxRecord } from "./record.ts";
import type { RecoveryItem, RecoveryReport } from "./recovery_report.ts";
import { sandboxVerdict } from "./sandbox_verdict.ts";

/** The dependencies of {@linkcode findInOrder}. */
export interface InOrderContext extends SandboxContext {
  readonly store: AttachmentStore;
  readonly failed: FailedIndex;
}

/** What else is known of the containers. */
export interface InOrderFacts {
  /** Attachments whose records are lost, by container. */
  readonly lost: ReadonlyMap<string, readonly LostAttachment[]>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns the reports of those containers that recovery has nothing to do for: sandboxes in order with attachments in order.
 * Nearly all are, and it takes their records and one look at all processes to see that; to lock each of them would take
 * many times as long. What cannot be judged so is left out, and recovery takes its lock.
 */
export async function findInOrder(
  ids: readonly string[],
  { lost, signal }: InOrderFacts,
  context: InOrderContext,
): Promise<ReadonlyMap<string, RecoveryReport>> {
  const found = new Map<string, RecoveryReport>();
  // A killed process may have left programs at work on any of them.
  if (await context.running.hasAbandoned()) return found;
  const special = await specialContainers(context);
  const boot = await context.attachments.boot();
  const candidates: { readonly sandbox: SandboxRecord; readonly kept: readonly RecoveryItem[] }[] = [];
  for (const id of ids) {
    const turn = turnIfDue();
    if (turn !== undefined) await turn;
    signal?.throwIfAborted();
    if (lost.has(id) || special.has(id)) continue;
    const { sandboxes } = context;
    const sandbox = sandboxes.readNow(id) ?? await sandboxes.readAny(id);
    if (sandbox === undefined || isDamaged(sandbox) || !isSimple(sandbox)) continue;
    const kept = await keptAttachments(sandbox, context, boot);
    if (kept !== undefined) candidates.push({ sandbox, kept });
    sandboxes.release(sandbox);
  }
  const pids = candidates.flatMap(({ sandbox: { infra, pid } }) =>
    infra === undefined || pid === undefined ? [] : [pid]
  );
  const processes = await readProcesses(pids, { run: context.run, signal });
  for (const { sandbox, kept } of candidates) {
    const turn = turnIfDue();
    if (turn !== undefined) await turn;
    signal?.throwIfAborted();
    const { id, phase, netns } = sandbox;
    if (await sandboxVerdict(sandbox, undefined, context, processes) !== undefined) continue;
    const why = phase === "stopped" ? "it is stopped" : "it is running";
    const report = emptyReport<RecoveryItem>();
    report.kept.push({ kind: "sandbox", containerId: id, netns: netns.path, why }, ...kept);
    found.set(id, report);
  }
  return found;
}

/** Whether its record and its processes say all about it. */
function isSimple({ phase, container, pool }: SandboxRecord): boolean {
  return !isInTransition(phase) && container === undefined && pool === undefined;
}

/**
 * Returns the containers with a lock file, with something to retry, or with a bundle of a newer version. An operation that
 * begins later changes a record, or finds the container as it is here.
 */
async function specialContainers({ locks, failed, stateDir }: InOrderContext): Promise<ReadonlySet<string>> {
  const special = new Set([...await locks.containers.list(), ...await failed.containers()]);
  for (const id of await listDir(infraBundles(stateDir))) {
    if (await newerBundle(infraBundle(stateDir, id)) !== undefined) special.add(id);
  }
  return special;
}

/** Returns what recovery reports of the attachments; undefined if it has something to do. */
async function keptAttachments(
  sandbox: SandboxRecord,
  { store, sandboxes }: InOrderContext,
  boot: string,
): Promise<readonly RecoveryItem[] | undefined> {
  // As they were when the sandbox was read.
  const log = sandboxes.logOf(sandbox);
  if (log === "changed") return undefined;
  const { records, damaged } = store.scanNow(sandbox.id, log) ?? await store.scan(sandbox.id, log);
  if (damaged.length > 0) return undefined;
  const facts = { hasSandbox: true, boot };
  if (records.some((record) => removalReason(record, facts) !== undefined)) return undefined;
  return records.toReversed().map((record) => ({ ...attachmentItem(record), why: "it is attached" }));
}
