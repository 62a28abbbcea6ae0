import type { Attachments } from "../attachment/attachments.ts";
import type { Locks } from "../state/locks.ts";
import type { RecoveredBoot } from "./recovered_boot.ts";

/** The dependencies of {@linkcode needsRecovery}. */
export interface NeedsRecoveryContext {
  readonly attachments: Pick<Attachments, "boot">;
  readonly locks: Pick<Locks, "containers">;
  readonly recoveredBoot: RecoveredBoot;
}

/** Whether a reboot or an operation that was killed left something that is recovered before anything new is attached. */
export async function needsRecovery(
  { attachments, locks, recoveredBoot }: NeedsRecoveryContext,
): Promise<boolean> {
  if (!await recoveredBoot.is(await attachments.boot())) return true;
  return (await locks.containers.listAbandoned()).length > 0;
}
