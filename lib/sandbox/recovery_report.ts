import type { CallOptions } from "../async/call_options.ts";
import type { DamagedOutcome } from "../gc/damaged_attachments.ts";
import { attachmentItem, type SweepReport } from "../gc/report.ts";
import type { Logger } from "../host/log.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { failureReason } from "../state/failure_reason.ts";

/** One thing that recovery checked. */
export interface RecoveryItem {
  /** Kind of the thing. */
  readonly kind: "attachment" | "sandbox" | "namespace" | "container";
  /** ID of its container. */
  readonly containerId: string;
  /** Network of an attachment. */
  readonly network?: string;
  /** Interface of an attachment. */
  readonly ifName?: string;
  /** Path of the namespace. */
  readonly netns?: string;
  /** Path of a record that cannot be read. */
  readonly file?: string;
  /** Why it was removed or kept, or why it could not be removed. */
  readonly why: string;
}

/** Report of a recovery; `recover --json` prints it. */
export interface RecoveryReport extends SweepReport<RecoveryItem> {
  /** What was removed. */
  readonly removed: RecoveryItem[];
  /** What is in order or in use. */
  readonly kept: RecoveryItem[];
  /** What could not be removed, and stays on record. */
  readonly failed: RecoveryItem[];
}

/** Options of a recovery. */
export interface RecoverOptions extends CallOptions {
  /** Called after each container. */
  readonly onProgress?: ((progress: RecoveryProgress) => void) | undefined;
  /** Number of containers that are recovered at once. @default {8} */
  readonly concurrency?: number | undefined;
}

/** Progress of a recovery. */
export interface RecoveryProgress {
  /** Number of containers that are done. */
  readonly done: number;
  /** Number of all containers. */
  readonly total: number;
  /** ID of the container that was done last. */
  readonly item: string;
}

/** Logs what a recovery without a caller for its report removed, and what it could not remove. */
export function logReport(
  { removed, failed }: RecoveryReport,
  log: Logger,
  words: { readonly removed: string; readonly failed: string },
): void {
  for (const { why, ...item } of removed) log.info(`${words.removed}: ${why}`, { ...item });
  for (const { why, ...item } of failed) log.warn(`${words.failed}: ${why}`, { ...item });
}

/** Words of {@linkcode logReport} for sandboxes whose containers have ended. */
export const TEAR_DOWN_WORDS = { removed: "torn down", failed: "not torn down" };

/** Adds the outcomes for attachments whose records cannot be used, or are lost. */
export function addDamaged(report: RecoveryReport, outcomes: readonly DamagedOutcome[]): void {
  for (const { became, error: _, ...item } of outcomes) report[became].push({ kind: "attachment", ...item });
}

/** Adds attachments that should be gone, judged by what is still on record. */
export async function addAttachments(
  report: RecoveryReport,
  records: readonly AttachmentRecord[],
  why: string,
  store: Pick<AttachmentStore, "read">,
): Promise<void> {
  for (const record of records) {
    const left = await store.read(record);
    if (left === undefined) report.removed.push({ ...attachmentItem(record), why });
    else {
      const failure = failureReason(left.error) ?? "it could not be removed";
      report.failed.push({ ...attachmentItem(left), why: failure });
    }
  }
}
