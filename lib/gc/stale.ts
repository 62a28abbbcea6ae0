import { inParallel } from "../async/parallel.ts";
import type { Attachments } from "../attachment/attachments.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { NEWER } from "../state/checksummed.ts";
import { tryContainerLock } from "../state/container_locks.ts";
import type { Locks } from "../state/locks.ts";
import { parseOwner } from "../state/owner.ts";
import {
  addToReport,
  attachmentItem,
  emptyReport,
  type GcFindings,
  type GcItem,
  listIfReadable,
  type Sweep,
  UNDER_WAY,
} from "./report.ts";
import { attachmentVerdict, type Verdict } from "./verdict.ts";

/** The dependencies of {@linkcode removeStale}. */
export interface StaleContext {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly locks: Locks;
  readonly running: RunningPrograms;
  /** Whether a sandbox is on record. A record of a newer version counts, and a damaged one whose namespace exists. */
  readonly hasSandbox: (id: string) => Promise<boolean>;
}

const DEFAULT_CONCURRENCY = 4;

/**
 * Removes the attachments that have lost their owner, several containers at once, so that a DEL that hangs does not delay
 * the others. Each is an ordinary removal: containers are attached meanwhile, and a container on which another process works
 * is left alone.
 */
export async function removeStale(sweep: Sweep, context: StaleContext): Promise<void> {
  const { signal, request: { concurrency = DEFAULT_CONCURRENCY } } = sweep;
  const containers = [...Map.groupBy(sweep.records, ({ containerId }) => containerId).values()];
  const removal = new StaleRemoval(sweep, context);
  const found = await inParallel(containers, concurrency, (records) => removal.ofContainer(records), signal);
  for (const report of found) addToReport(sweep.report, report);
}

/** An attachment that has to be removed, as it was when the sweep read it. */
interface Stale {
  readonly record: AttachmentRecord;
  readonly why: string;
}

class StaleRemoval {
  readonly #sweep: Sweep;
  readonly #context: StaleContext;

  constructor(sweep: Sweep, context: StaleContext) {
    this.#sweep = sweep;
    this.#context = context;
  }

  /** The records are of one container, the last attachment first. */
  async ofContainer(records: readonly AttachmentRecord[]): Promise<GcFindings> {
    const found = emptyReport<GcItem>();
    const stale: Stale[] = [];
    for (const record of records) {
      const { stale: isStale, ...verdict } = await this.#verdictOn(record);
      if (isStale) stale.push({ record, why: verdict.why });
      else found.kept.push({ ...attachmentItem(record), ...verdict });
    }
    if (stale.length > 0) await this.#removeOrReport(stale, found);
    return found;
  }

  async #removeOrReport(stale: readonly Stale[], found: GcFindings): Promise<void> {
    const { dryRun = false } = this.#sweep.request;
    const containerId = stale[0]?.record.containerId ?? "";
    const newer = await this.#newerRecordReason(containerId);
    if (newer) {
      for (const { record } of stale) found.kept.push({ ...attachmentItem(record), why: newer });
      return;
    }
    const isBusy = dryRun
      ? await this.#context.locks.containers.isBusy(containerId)
      : await this.#removeAll(containerId, stale, found);
    for (const { record, why } of stale) {
      if (isBusy) found.kept.push({ ...attachmentItem(record), why: UNDER_WAY });
      else if (dryRun) found.removed.push({ ...attachmentItem(record), why });
    }
  }

  /** Returns why the container is left alone, if a newer version wrote a record of it. */
  async #newerRecordReason(containerId: string): Promise<string | undefined> {
    const newer = (await this.#context.store.damaged(containerId)).find(({ isNewer }) => isNewer);
    return newer && `the record ${newer.file} of its container ${NEWER}`;
  }

  /** Returns whether another process works on the container, so that nothing was removed. */
  async #removeAll(containerId: string, stale: readonly Stale[], found: GcFindings): Promise<boolean> {
    const { locks } = this.#context;
    const { signal } = this.#sweep;
    const { isBusy } = await tryContainerLock(locks, containerId, async () => {
      for (const { record } of stale) if (!signal?.aborted) await this.#remove(record, found);
    });
    return isBusy;
  }

  /** Decides again by the record of now: before the lock was taken, another process could change it. */
  async #remove(earlier: AttachmentRecord, found: GcFindings): Promise<void> {
    const { attachments, store, running } = this.#context;
    const record = await store.read(earlier);
    if (record === undefined) return;
    const item = attachmentItem(record);
    // The caller that named the attachments in use did not know of one that was made since.
    if (record.state === "attached" && record.since !== earlier.since) {
      found.kept.push({ ...item, why: "it was attached meanwhile" });
      return;
    }
    const { stale, ...verdict } = await this.#verdictOn(record);
    if (!stale) {
      found.kept.push({ ...item, ...verdict });
      return;
    }
    try {
      // Plugins of a killed runtime may still run. They must end before the DEL.
      if (record.state === "adding" || record.state === "deleting") {
        await running.endAbandonedOf(record.containerId, this.#sweep.signal);
      }
      await attachments.remove(record, this.#sweep.signal);
      found.removed.push({ ...item, ...verdict });
    } catch (cause) {
      const error = asCniError(cause);
      found.failed.push({ ...item, why: error.message, error });
    }
  }

  /** A sandbox is on record before its attachments. So if it is missing after its attachment was read, it is gone. */
  async #verdictOn(record: AttachmentRecord): Promise<Verdict> {
    const { facts, current } = this.#sweep;
    const owner = parseOwner(record.owner);
    const hasSandbox = owner.kind === "sandbox" && await this.#context.hasSandbox(owner.id);
    const list = current.get(record.network) ?? listIfReadable(record);
    return attachmentVerdict(record, { ...facts, hasSandbox, disableGC: list?.disableGC ?? false });
  }
}
