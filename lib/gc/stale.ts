import type { RunningPrograms } from "../host/running_programs.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { tryContainerLock } from "../state/container_locks.ts";
import type { Locks } from "../state/locks.ts";
import { parseOwner } from "../state/owner.ts";
import { judge, type Verdict } from "./verdict.ts";
import { type Findings, itemOf, listIfReadable, noFindings, type Sweep, UNDER_WAY } from "./report.ts";
import type { Attachments } from "../attachment/attachments.ts";
import { inParallel } from "../async/parallel.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { NEWER } from "../state/checksummed.ts";

/** The parts that {@linkcode removeStale} works with. */
export interface StaleParts {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly locks: Locks;
  readonly running: RunningPrograms;
  /** Whether a sandbox is on record: also one of a newer version, and one whose record is damaged and whose namespace is there. */
  readonly hasSandbox: (id: string) => Promise<boolean>;
}

const DEFAULT_CONCURRENCY = 4;

/**
 * Removes the attachments that nobody owns, several containers at once, so that a DEL that hangs does not hold up the
 * others. Each is an ordinary removal: set-ups go on meanwhile, and a container on which somebody works is left alone.
 */
export async function removeStale(sweep: Sweep, parts: StaleParts): Promise<void> {
  const { signal, request: { concurrency = DEFAULT_CONCURRENCY } } = sweep;
  const containers = [...Map.groupBy(sweep.records, ({ containerId }) => containerId).values()];
  const removal = new StaleRemoval(sweep, parts);
  const found = await inParallel(containers, concurrency, (records) => removal.ofContainer(records), signal);
  for (const { removed, kept, failed } of found) {
    sweep.report.removed.push(...removed);
    sweep.report.kept.push(...kept);
    sweep.report.failed.push(...failed);
  }
}

/** An attachment that has to go, as it was when it was looked at. */
interface Stale {
  readonly record: AttachmentRecord;
  readonly why: string;
}

class StaleRemoval {
  readonly #sweep: Sweep;
  readonly #parts: StaleParts;

  constructor(sweep: Sweep, parts: StaleParts) {
    this.#sweep = sweep;
    this.#parts = parts;
  }

  /** The records are of one container, the last attachment first. */
  async ofContainer(records: readonly AttachmentRecord[]): Promise<Findings> {
    const found = noFindings();
    const stale: Stale[] = [];
    for (const record of records) {
      const { stale: isStale, ...told } = await this.#judge(record);
      if (isStale) stale.push({ record, why: told.why });
      else found.kept.push({ ...itemOf(record), ...told });
    }
    if (stale.length > 0) await this.#settle(stale, found);
    return found;
  }

  async #settle(stale: readonly Stale[], found: Findings): Promise<void> {
    const { dryRun = false } = this.#sweep.request;
    const containerId = stale[0]?.record.containerId ?? "";
    const newer = await this.#newerThan(containerId);
    if (newer) {
      for (const { record } of stale) found.kept.push({ ...itemOf(record), why: newer });
      return;
    }
    const isBusy = dryRun
      ? await this.#parts.locks.containers.isBusy(containerId)
      : await this.#removeAll(containerId, stale, found);
    for (const { record, why } of stale) {
      if (isBusy) found.kept.push({ ...itemOf(record), why: UNDER_WAY });
      else if (dryRun) found.removed.push({ ...itemOf(record), why });
    }
  }

  /** Why the container is left alone, if a newer version wrote a record of it. */
  async #newerThan(containerId: string): Promise<string | undefined> {
    const newer = (await this.#parts.store.damaged(containerId)).find(({ isNewer }) => isNewer);
    return newer && `the record ${newer.file} of its container ${NEWER}`;
  }

  /** Gives whether somebody works on the container, so that nothing was removed. */
  async #removeAll(containerId: string, stale: readonly Stale[], found: Findings): Promise<boolean> {
    const { locks } = this.#parts;
    const { signal } = this.#sweep;
    const { isBusy } = await tryContainerLock(locks, containerId, async () => {
      for (const { record } of stale) if (!signal?.aborted) await this.#remove(record, found);
    });
    return isBusy;
  }

  /** Judges again what is on record now: until the lock was held, others could do anything with it. */
  async #remove(seen: AttachmentRecord, found: Findings): Promise<void> {
    const { attachments, store, running } = this.#parts;
    const record = await store.read(seen);
    if (record === undefined) return;
    const item = itemOf(record);
    // Who named the attachments in use knew nothing of one that was made since.
    if (record.state === "attached" && record.since !== seen.since) {
      found.kept.push({ ...item, why: "it was attached meanwhile" });
      return;
    }
    const { stale, ...told } = await this.#judge(record);
    if (!stale) {
      found.kept.push({ ...item, ...told });
      return;
    }
    try {
      // What the plugins of a killed runtime still do must not happen after the DEL.
      if (record.state === "adding" || record.state === "deleting") {
        await running.endAbandonedOf(record.containerId, this.#sweep.signal);
      }
      await attachments.remove(record, this.#sweep.signal);
      found.removed.push({ ...item, ...told });
    } catch (cause) {
      const error = asCniError(cause);
      found.failed.push({ ...item, why: error.message, error });
    }
  }

  /** A sandbox is put on record before its attachments, so one that is missing after its attachment was read is gone. */
  async #judge(record: AttachmentRecord): Promise<Verdict> {
    const { facts, current } = this.#sweep;
    const owner = parseOwner(record.owner);
    const hasSandbox = owner.kind === "sandbox" && await this.#parts.hasSandbox(owner.id);
    const list = current.get(record.network) ?? listIfReadable(record);
    return judge(record, { ...facts, hasSandbox, disableGC: list?.disableGC ?? false });
  }
}
