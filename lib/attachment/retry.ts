import { isDue } from "../async/backoff.ts";
import { inParallel } from "../async/parallel.ts";
import { delay } from "../async/wait.ts";
import type { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { tryContainerLock } from "../state/container_locks.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import type { Locks } from "../state/locks.ts";
import type { Attachments } from "./attachments.ts";
import { isPendingRemoval } from "./removal_progress.ts";

/** Dependencies of {@linkcode Retrier}. */
export interface RetrierOptions {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly failed: FailedIndex;
  readonly locks: Locks;
  readonly running: RunningPrograms;
  readonly log: Logger;
  /** Most milliseconds between two passes, to find the failed removals of other processes. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** Least milliseconds between two passes. @default {1_000} */
  readonly leastMs?: number | undefined;
}

/** Options of {@linkcode Retrier.retryDue}. */
export interface RetryOptions {
  /** @default {the current time} */
  readonly now?: Date | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Number of containers at once. @default {8} */
  readonly concurrency?: number | undefined;
}

/** The outcome of the removals that were due. */
export interface RetryReport {
  /** What was detached. */
  readonly removed: readonly AttachmentKey[];
  /** What failed again and stays on record. */
  readonly failed: readonly (AttachmentKey & { readonly error: CniError })[];
  /** The containers with an operation in progress. */
  readonly busy: readonly string[];
}

const READS_AT_ONCE = 16;

/** A report that is being filled. */
interface ReportInProgress extends RetryReport {
  readonly removed: AttachmentKey[];
  readonly failed: (AttachmentKey & { readonly error: CniError })[];
  readonly busy: string[];
}

/**
 * Retries failed removals of all processes when they are due, with the configuration of their ADD. A container with an
 * operation in progress is skipped until the next pass.
 */
export class Retrier implements AsyncDisposable {
  readonly #options: RetrierOptions;
  #running: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;

  constructor(options: RetrierOptions) {
    this.#options = options;
  }

  /**
   * Retries what is due now, and logs each outcome.
   *
   * @throws the reason of the signal, or if the index cannot be read; other failures are reported
   */
  async retryDue({ now = new Date(), signal, concurrency = 8 }: RetryOptions = {}): Promise<RetryReport> {
    const report: ReportInProgress = { removed: [], failed: [], busy: [] };
    const containers = await this.#options.failed.containers();
    await inParallel(containers, concurrency, (id) => this.#retry(id, now, report, signal), signal);
    return report;
  }

  /** Returns when the next retry is due, possibly in the past; undefined if no removal is pending. */
  async nextDue(now: Date = new Date()): Promise<Date | undefined> {
    const { failed, store } = this.#options;
    const times = await inParallel(await failed.containers(), READS_AT_ONCE, async (containerId) => {
      const { records, damaged } = await store.scan(containerId);
      const pending = records.filter(isPendingRemoval);
      // A record of a newer version is left alone, and recovery handles damaged ones: neither is ever due.
      if (damaged.some(({ isNewer }) => isNewer || pending.length === 0)) return Infinity;
      const isNow = pending.length === 0 || pending.some((record) => isDueNow(record, now));
      return isNow ? now.getTime() : Math.min(...pending.map(({ nextTry }) => Date.parse(nextTry ?? "")));
    });
    const next = times.reduce((least, time) => Math.min(least, time), Infinity);
    return next === Infinity ? undefined : new Date(next);
  }

  /** Starts to retry whatever is due, until disposed. */
  start(): void {
    if (this.#running !== undefined) return;
    const stop = new AbortController();
    this.#running = { stop, ended: this.#loop(stop.signal) };
  }

  /** Stops: interrupts the removals in progress, which stay on record, and waits for their end. */
  async [Symbol.asyncDispose](): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    running?.stop.abort();
    await running?.ended;
  }

  async #loop(signal: AbortSignal): Promise<void> {
    const { failed, log, pollMs = 10_000, leastMs = 1_000 } = this.#options;
    while (!signal.aborted) {
      const woken = new AbortController();
      using _listening = failed.onAdd(() => woken.abort());
      let wait = pollMs;
      // Read before the pass: a removal that fails meanwhile then causes another pass.
      const stamp = await failed.stamp();
      try {
        const next = await this.nextDue();
        if (next !== undefined) wait = Math.min(wait, next.getTime() - Date.now());
        if (wait <= 0) await this.retryDue({ signal });
      } catch (error) {
        if (!signal.aborted) log.warn(`failed removals cannot be tried again: ${asCniError(error).message}`);
      }
      // If the container of a due removal is busy, the passes must not follow each other without a pause.
      await ignoringAbort(delay(leastMs, signal));
      await ignoringAbort(this.#idle(wait - leastMs, stamp, AbortSignal.any([signal, woken.signal])));
    }
  }

  /** Waits for so long, or until another process writes a failed removal. */
  async #idle(ms: number, stamp: string, signal: AbortSignal): Promise<void> {
    const { failed, leastMs = 1_000 } = this.#options;
    for (let remaining = ms; remaining > 0; remaining -= leastMs) {
      await delay(Math.min(remaining, leastMs), signal);
      if (await failed.stamp() !== stamp) return;
    }
  }

  async #retry(
    id: string,
    now: Date,
    report: ReportInProgress,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { store, locks } = this.#options;
    try {
      const pending = (await store.ofContainer(id)).filter(isPendingRemoval);
      if (pending.length > 0 && !pending.some((record) => isDueNow(record, now))) return;
      const { isBusy } = await tryContainerLock(locks, id, () => this.#removeDue(id, now, report, signal));
      if (isBusy) report.busy.push(id);
    } catch (error) {
      signal?.throwIfAborted();
      const { message } = asCniError(error);
      this.#options.log.warn(`a failed removal cannot be tried again: ${message}`, { containerId: id });
    }
  }

  /** Reads the records again while holding the lock: an earlier holder may have detached. */
  async #removeDue(
    containerId: string,
    now: Date,
    report: ReportInProgress,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { store, failed, attachments, running, log } = this.#options;
    const { records, damaged } = await store.scan(containerId);
    if (damaged.some(({ isNewer }) => isNewer)) return;
    const pending = records.filter(isPendingRemoval);
    // The process crashed before it removed the hint, or before it wrote the record that the hint is for.
    if (pending.length === 0) return damaged.length === 0 ? await failed.remove(containerId) : undefined;
    for (const record of pending.filter((each) => isDueNow(each, now)).reverse()) {
      signal?.throwIfAborted();
      const { network, ifName } = record;
      const key = { containerId, network, ifName };
      try {
        // The plugins of a killed process must not change anything after the DEL.
        if (record.state === "deleting") await running.endAbandonedOf(containerId, signal);
        await attachments.remove(record, signal);
        report.removed.push(key);
        log.info("detached at last", key);
      } catch (cause) {
        const error = asCniError(cause);
        report.failed.push({ ...key, error });
        log.warn(`not detached yet: ${error.message}`, key);
      }
    }
  }
}

/** A removal that was interrupted has no time for its next try: it is due at once. */
function isDueNow({ state, nextTry }: AttachmentRecord, now: Date): boolean {
  return state === "deleting" || isDue(nextTry, now);
}

/** Waits until the wait ends or is interrupted. */
async function ignoringAbort(wait: Promise<void>): Promise<void> {
  await wait.catch(() => {});
}
