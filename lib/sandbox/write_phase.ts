import { writeBestEffort } from "../state/write_best_effort.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";

/** Writes the record with its new phase. A full or read-only disk does not stop a tear-down: the failure is only logged. */
export async function writePhase(
  record: SandboxRecord,
  { sandboxes, log }: Pick<SandboxContext, "sandboxes" | "log">,
): Promise<void> {
  await writeBestEffort(() => sandboxes.write(record), log, { sandbox: record.id, phase: record.phase });
}
