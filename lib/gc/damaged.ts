import { tryContainerLock } from "../state/container_locks.ts";
import type { Locks } from "../state/locks.ts";
import type { DamagedOutcome, DamagedRecords } from "./damaged_attachments.ts";
import { type Sweep, UNDER_WAY } from "./report.ts";

/** The parts that {@linkcode settleDamaged} works with. */
export interface DamagedSweepParts {
  readonly damaged: DamagedRecords;
  readonly locks: Locks;
  readonly hasSandbox: (id: string) => Promise<boolean>;
}

/** Removes the attachments whose records cannot be read, or are lost, as far as nobody uses them, and tells of the others. */
export async function settleDamaged(
  sweep: Sweep,
  { damaged, locks, hasSandbox }: DamagedSweepParts,
): Promise<void> {
  const { request: { network, dryRun = false }, signal, facts: { all = false } } = sweep;
  for (const [id, lost] of await damaged.containers(network)) {
    signal?.throwIfAborted();
    const settle = async () => {
      return await damaged.settle(id, { isUp: await hasSandbox(id), all, lost, dryRun, network, signal });
    };
    if (dryRun) {
      tell(await settle(), sweep);
      continue;
    }
    const outcome = await tryContainerLock(locks, id, settle);
    if (!outcome.isBusy) tell(outcome.value, sweep);
    else sweep.report.kept.push({ kind: "attachment", containerId: id, why: UNDER_WAY });
  }
}

function tell(outcomes: readonly DamagedOutcome[], { report }: Sweep): void {
  for (const { became, ...item } of outcomes) report[became].push({ kind: "attachment", ...item });
}
