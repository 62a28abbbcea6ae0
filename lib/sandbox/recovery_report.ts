import type { CallOptions } from "../async/call_options.ts";
import type { DamagedOutcome } from "../gc/damaged_attachments.ts";
import { attachmentItem, type SweepReport } from "../gc/report.ts";
import { failureReason } from "../state/failure_reason.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";

/** One thing that recovery looked at. */
export interface RecoveryItem {
  /** What it is. */
  readonly kind: "attachment" | "sandbox" | "namespace" | "container";
  /** Whose it is. */
  readonly containerId: string;
  /** Of an attachment. */
  readonly network?: string;
  /** Of an attachment. */
  readonly ifName?: string;
  /** The path of the namespace. */
  readonly netns?: string;
  /** A record that could not be read, where it was moved to. */
  readonly file?: string;
  /** Why it was removed or kept, or why it could not be. */
  readonly why: string;
}

/** What recovery did; `recover --json` prints it. */
export interface RecoveryReport extends SweepReport<RecoveryItem> {
  /** What is gone now. */
  readonly removed: RecoveryItem[];
  /** What is as it should be. */
  readonly kept: RecoveryItem[];
  /** What could not be removed, and stays on record. */
  readonly failed: RecoveryItem[];
}

/** How recovery goes about it. */
export interface RecoverOptions extends CallOptions {
  /** Called after each container. */
  readonly onProgress?: ((progress: RecoveryProgress) => void) | undefined;
  /** How many containers are settled at once. @default {8} */
  readonly concurrency?: number | undefined;
}

/** How far recovery is. */
export interface RecoveryProgress {
  /** How many containers are settled. */
  readonly done: number;
  /** How many there are to look at. */
  readonly total: number;
  /** The ID of the container that was settled last. */
  readonly item: string;
}

/** Adds what became of attachments whose records cannot be used, or are lost. */
export function addDamaged(report: RecoveryReport, outcomes: readonly DamagedOutcome[]): void {
  for (const { became, error: _, ...item } of outcomes) report[became].push({ kind: "attachment", ...item });
}

/** Adds attachments that were to be removed, by what is on record of them now. */
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
