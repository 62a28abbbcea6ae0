import { sandboxOf, whyUnfinished } from "../network/gc_plan.ts";
import type { AttachmentRecord } from "../network/record.ts";

/** Why an attachment has to go, if it has to. */
export function doomOf(
  record: AttachmentRecord,
  hasSandbox: boolean,
  boot: string,
): string | undefined {
  const why = whyUnfinished(record, boot);
  if (why !== undefined) return why;
  if (!hasSandbox && sandboxOf(record) !== undefined) return "its sandbox is gone";
  return undefined;
}
