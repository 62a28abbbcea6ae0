import { whyUnfinished } from "../gc/verdict.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { parseOwner } from "../state/owner.ts";

/** Why an attachment has to go, if it has to. */
export function removalVerdict(
  record: AttachmentRecord,
  hasSandbox: boolean,
  boot: string,
): string | undefined {
  const why = whyUnfinished(record, boot);
  if (why !== undefined) return why;
  if (!hasSandbox && parseOwner(record.owner).kind === "sandbox") return "its sandbox is gone";
  return undefined;
}
