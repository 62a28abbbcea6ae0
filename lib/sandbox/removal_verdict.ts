import { sandboxOf, whyUnfinished } from "../gc/verdict.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";

/** Why an attachment has to go, if it has to. */
export function removalVerdict(
  record: AttachmentRecord,
  hasSandbox: boolean,
  boot: string,
): string | undefined {
  const why = whyUnfinished(record, boot);
  if (why !== undefined) return why;
  if (!hasSandbox && sandboxOf(record) !== undefined) return "its sandbox is gone";
  return undefined;
}
