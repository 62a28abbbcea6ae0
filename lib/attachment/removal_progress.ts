import { backoffMs } from "../async/backoff.ts";
import type { CniError } from "../cni/error.ts";
import { type JsonObject, parseJson } from "../cni/json.ts";
import type { Logger } from "../host/log.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";

/** Dependencies of {@linkcode RemovalProgress}. */
export interface RemovalProgressOptions {
  readonly store: AttachmentStore;
  /** Which containers have attachments that could not be removed. */
  readonly failed: FailedIndex;
  readonly log: Logger;
}

/**
 * Writes the progress of removals to the records: begun, failed, when to retry. A full disk only causes a warning, because
 * it must not stop a removal.
 *
 * The caller holds the container's lock.
 */
export class RemovalProgress {
  readonly #options: RemovalProgressOptions;

  constructor(options: RemovalProgressOptions) {
    this.#options = options;
  }

  /** Writes that the removal has begun. */
  async begin(record: AttachmentRecord): Promise<void> {
    if (record.state !== "deleting") {
      await this.#write({ ...record, state: "deleting", since: new Date().toISOString() });
    }
  }

  /** Writes that the removal failed, and when it is retried. */
  async postpone(record: AttachmentRecord, failure: CniError): Promise<void> {
    const { failed, log } = this.#options;
    const { containerId } = record;
    await writeBestEffort(() => failed.add(containerId), log, { containerId });
    const attempts = record.attempts + 1;
    await this.#write({
      ...record,
      state: "failed",
      attempts,
      since: record.state === "failed" ? record.since : new Date().toISOString(),
      nextTry: new Date(Date.now() + backoffMs(attempts)).toISOString(),
      error: parseJson(JSON.stringify(failure)) as JsonObject,
    });
  }

  /** Removes the retry hint of the container if this was its last failed removal. A hint that stays does no harm. */
  async finish({ containerId, network, ifName }: AttachmentRecord): Promise<void> {
    const { failed, log } = this.#options;
    await writeBestEffort(
      async () => {
        if (await failed.has(containerId)) await this.syncRetryHint(containerId);
      },
      log,
      { containerId, network, ifName },
    );
  }

  /** Sets the retry hint of the container if it has removals to retry or damaged records, and removes it otherwise. */
  async syncRetryHint(containerId: string): Promise<void> {
    const { failed, store } = this.#options;
    const { records, damaged } = await store.scan(containerId);
    if (records.some(isPendingRemoval) || damaged.some(({ isNewer }) => !isNewer)) {
      await failed.add(containerId);
    } // A newer version may have set the hint for records that only it can read.
    else if (damaged.length === 0) await failed.remove(containerId);
  }

  async #write(record: AttachmentRecord): Promise<void> {
    const { store, log } = this.#options;
    const { containerId, network, ifName, state } = record;
    await writeBestEffort(() => store.write(record), log, { containerId, network, ifName, state });
  }
}

/** Whether a removal of the attachment failed, or was interrupted. */
export function isPendingRemoval({ state }: AttachmentRecord): boolean {
  return state === "failed" || state === "deleting";
}
