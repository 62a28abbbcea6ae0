import { needsRecovery } from "../sandbox/needs_recovery.ts";
import { RecoveredBoot } from "../sandbox/recovered_boot.ts";
import { AttachOperations } from "./attach_operations.ts";
import { wireAttachments } from "./attachment_wiring.ts";
import type { RuntimeOptions } from "./options.ts";

/**
 * Returns the operations on attachments without the rest of a runtime, which is half of the code of one: a command that
 * attaches one namespace loads it only if there is something to recover.
 */
export function openAttach(options: RuntimeOptions): AttachOperations {
  const wiring = wireAttachments(options);
  const { records, guards, catalogs, reading, host, dirs } = wiring;
  const recoveredBoot = new RecoveredBoot({ stateDir: dirs.stateDir, log: host.log });
  const beforeFirstAdd = async (signal?: AbortSignal) => {
    await guards.requireSafe();
    if (!await needsRecovery({ ...records, recoveredBoot })) return;
    const { wireOnto } = await import("./wiring.ts");
    await wireOnto(wiring).beforeFirstAdd(signal);
  };
  return new AttachOperations({ ...catalogs, ...records, format: reading.format, beforeFirstAdd });
}
