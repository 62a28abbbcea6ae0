import { inParallel } from "../async/parallel.ts";
import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import { isPendingRemoval } from "./removal_progress.ts";

const CONTAINERS_AT_ONCE = 16;

/** From this number on a warning is logged. A first failure may be over by the next try. */
const WARNED_FROM = 3;

/** Dependencies of {@linkcode FailedLimit}. */
export interface FailedLimitOptions {
  readonly store: AttachmentStore;
  readonly failed: FailedIndex;
  readonly log: Logger;
  /** Number of attachments that could not be detached, that one pod may have; 0 for any number. */
  readonly max: number;
}

/**
 * Limits the number of attachments of one pod that could not be detached. Each retry of a pod creates a new container, and
 * leaves one more such attachment if DEL fails again.
 *
 * Reads only containers with a retry hint.
 */
export class FailedLimit {
  readonly #options: FailedLimitOptions;

  constructor(options: FailedLimitOptions) {
    this.#options = options;
  }

  /**
   * Warns from the third attachment on, and refuses the pod once the limit is reached.
   *
   * @throws {CniError} kind `conflict`
   */
  async require(
    pod: string,
    isOfPod: (record: AttachmentRecord) => boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    const { max, log } = this.#options;
    const count = await this.#count(isOfPod, signal);
    if (count < WARNED_FROM && (max === 0 || count < max)) return;
    const msg = `${pod} left ${count} attachment${count === 1 ? "" : "s"} that could not be detached`;
    const hint = "`podwire attachments --failed` lists them, `podwire recover` tries them again, " +
      "`podwire forget ID --reason TEXT` lets go of one";
    if (max === 0 || count < max) return log.warn(`${msg}${max === 0 ? "" : `, of ${max} at most`}; ${hint}`);
    throw new CniError("conflict", msg, {
      details: `at most ${max} may be left before it is made again (--max-failed)`,
      hint,
    });
  }

  async #count(
    isOfPod: (record: AttachmentRecord) => boolean,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const { store, failed } = this.#options;
    const counts = await inParallel(await failed.containers(), CONTAINERS_AT_ONCE, async (id) => {
      const { records } = await store.scan(id);
      return records.filter((record) => isPendingRemoval(record) && record.attempts > 0 && isOfPod(record))
        .length;
    }, signal);
    return counts.reduce((sum, count) => sum + count, 0);
  }
}
