import { sandboxOf, whyUnfinished } from "../network/gc_plan.ts";
import type { AttachmentRecord } from "../network/record.ts";
import type { SandboxRecord } from "./record.ts";

/** Why an attachment has to go, if it has to. */
export function doomOf(
  record: AttachmentRecord,
  sandbox: SandboxRecord | undefined,
  boot: string,
): string | undefined {
  const why = whyUnfinished(record, boot);
  if (why !== undefined) return why;
  if (sandbox === undefined && sandboxOf(record) !== undefined) return "its sandbox is gone";
  return undefined;
}
