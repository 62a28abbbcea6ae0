import type { Logger } from "../host/log.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { CniError } from "../cni/error.ts";
import { isDue } from "../async/backoff.ts";
import { tryContainerLock } from "../state/container_locks.ts";
import type { Locks } from "../state/locks.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import type { Attachments } from "./attachments.ts";
import { inParallel } from "../async/parallel.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { isPendingRemoval } from "./removal.ts";
import { delay } from "../async/wait.ts";

/** The parts that {@linkcode Retrier} works with. */
export interface RetrierOptions {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly failed: FailedIndex;
  readonly locks: Locks;
  readonly running: RunningPrograms;
  readonly log: Logger;
  /** Milliseconds after which it looks at the latest, for what other processes could not remove. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** Milliseconds between two looks at least. @default {1_000} */
  readonly leastMs?: number | undefined;
}

/** How {@linkcode Retrier.retryDue} goes about it. */
export interface RetryOptions {
  /** @default {the present} */
  readonly now?: Date | undefined;
  readonly signal?: AbortSignal | undefined;
  /** How many containers at once. @default {8} */
  readonly concurrency?: number | undefined;
}

/** What became of the removals that were due. */
export interface RetryReport {
  /** What is gone now. */
  readonly removed: readonly AttachmentKey[];
  /** What failed again, and stays on record. */
  readonly failed: readonly (AttachmentKey & { readonly error: CniError })[];
  /** The containers that an operation is under way on. */
  readonly busy: readonly string[];
}

const LOOKS_AT_ONCE = 16;

/** A report that is being written. */
interface RetryReportInProgress extends RetryReport {
  readonly removed: AttachmentKey[];
  readonly failed: (AttachmentKey & { readonly error: CniError })[];
  readonly busy: string[];
}

/**
 * Tries failed removals again when their time has come, with the configuration of their ADD: those of this process and
 * those of others. A container that somebody works on is left for the next time.
 */
export class Retrier implements AsyncDisposable {
  readonly #options: RetrierOptions;
  #running: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;

  constructor(options: RetrierOptions) {
    this.#options = options;
  }

  /**
   * Tries what is due now. Writes into `report` as it goes on, so that it also says what was done before a failure.
   *
   * @throws the reason of the signal, or if the index cannot be read; what failed else is reported
   */
  async retryDue(
    { now = new Date(), signal, concurrency = 8 }: RetryOptions = {},
    report: RetryReportInProgress = { removed: [], failed: [], busy: [] },
  ): Promise<RetryReport> {
    const containers = await this.#options.failed.containers();
    await inParallel(containers, concurrency, (id) => this.#retry(id, now, report, signal), signal);
    return report;
  }

  /** When something is to be done next; undefined when no removal is left. It may be over already. */
  async nextDue(now: Date = new Date()): Promise<Date | undefined> {
    const { failed, store } = this.#options;
    const times = await inParallel(await failed.containers(), LOOKS_AT_ONCE, async (containerId) => {
      const { records, damaged } = await store.scan(containerId);
      const left = records.filter(isPendingRemoval);
      // A newer version's is left alone, and what is damaged is for recovery: nothing of it is ever due.
      if (damaged.some(({ isNewer }) => isNewer || left.length === 0)) return Infinity;
      const isNow = left.length === 0 || left.some((record) => isDueNow(record, now));
      return isNow ? now.getTime() : Math.min(...left.map(({ nextTry }) => Date.parse(nextTry ?? "")));
    });
    const next = times.reduce((least, time) => Math.min(least, time), Infinity);
    return next === Infinity ? undefined : new Date(next);
  }

  /** Tries from now on, whenever something is due, until disposed of. */
  start(): void {
    if (this.#running !== undefined) return;
    const stop = new AbortController();
    this.#running = { stop, ended: this.#loop(stop.signal) };
  }

  /** Stops: cuts short what is tried just now, which stays on record, and waits for its end. */
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
      const report: RetryReportInProgress = { removed: [], failed: [], busy: [] };
      let wait = pollMs;
      // Before the look: what is noted meanwhile makes another one.
      const stamp = await failed.stamp();
      try {
        const next = await this.nextDue();
        if (next !== undefined) wait = Math.min(wait, next.getTime() - Date.now());
        if (wait <= 0) await this.retryDue({ signal }, report);
      } catch (error) {
        if (!signal.aborted) log.warn(`failed removals cannot be tried again: ${asCniError(error).message}`);
      }
      // Also of what was cut short.
      this.#tell(report);
      // Something may be due and its container busy: that must not turn into looking all the time.
      await over(delay(leastMs, signal));
      await over(this.#idle(wait - leastMs, stamp, AbortSignal.any([signal, woken.signal])));
    }
  }

  /** Waits for so long, or until another process has noted a removal that failed. */
  async #idle(ms: number, stamp: string, signal: AbortSignal): Promise<void> {
    const { failed, leastMs = 1_000 } = this.#options;
    for (let left = ms; left > 0; left -= leastMs) {
      await delay(Math.min(left, leastMs), signal);
      if (await failed.stamp() !== stamp) return;
    }
  }

  #tell({ removed, failed }: RetryReport): void {
    const { log } = this.#options;
    for (const key of removed) log.info("detached at last", { ...key });
    for (const { error, ...key } of failed) log.warn(`not detached yet: ${error.message}`, key);
  }

  async #retry(
    id: string,
    now: Date,
    report: RetryReportInProgress,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { store, locks } = this.#options;
    try {
      const left = (await store.ofContainer(id)).filter(isPendingRemoval);
      if (left.length > 0 && !left.some((record) => isDueNow(record, now))) return;
      const { isBusy } = await tryContainerLock(locks, id, () => this.#removeDue(id, now, report, signal));
      if (isBusy) report.busy.push(id);
    } catch (error) {
      signal?.throwIfAborted();
      const { message } = asCniError(error);
      this.#options.log.warn(`a failed removal cannot be tried again: ${message}`, { containerId: id });
    }
  }

  /** Reads again under the lock: whoever had it before may have done it. */
  async #removeDue(
    containerId: string,
    now: Date,
    report: RetryReportInProgress,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { store, failed, attachments, running } = this.#options;
    const { records, damaged } = await store.scan(containerId);
    if (damaged.some(({ isNewer }) => isNewer)) return;
    const left = records.filter(isPendingRemoval);
    // A crash fell between the last removal and this hint, or before the record that it was to lead to.
    if (left.length === 0) return damaged.length === 0 ? await failed.remove(containerId) : undefined;
    for (const record of left.filter((each) => isDueNow(each, now)).reverse()) {
      signal?.throwIfAborted();
      const { network, ifName } = record;
      const key = { containerId, network, ifName };
      try {
        // What the plugins of a killed process still do must not happen after the DEL.
        if (record.state === "deleting") await running.endAbandonedOf(containerId, signal);
        await attachments.remove(record, signal);
        report.removed.push(key);
      } catch (error) {
        report.failed.push({ ...key, error: asCniError(error) });
      }
    }
  }
}

/** One that was cut short has no time of its own. */
function isDueNow({ state, nextTry }: AttachmentRecord, now: Date): boolean {
  return state === "deleting" || isDue(nextTry, now);
}

/** Waits for a pause to end, or to be cut short. */
async function over(wait: Promise<void>): Promise<void> {
  await wait.catch(() => {});
}
