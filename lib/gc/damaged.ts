import { tryContainerLock } from "../state/container_locks.ts";
import type { Locks } from "../state/locks.ts";
import type { DamagedOutcome, DamagedRecords } from "./damaged_attachments.ts";
import { type Sweep, UNDER_WAY } from "./report.ts";

/** The dependencies of {@linkcode removeDamaged}. */
export interface DamagedSweepContext {
  readonly damaged: DamagedRecords;
  readonly locks: Locks;
  readonly hasSandbox: (id: string) => Promise<boolean>;
}

/** Removes the attachments whose records are damaged or lost and that are not in use, and reports all of them. */
export async function removeDamaged(
  sweep: Sweep,
  { damaged, locks, hasSandbox }: DamagedSweepContext,
): Promise<void> {
  const { request: { network, dryRun = false }, signal, facts: { all = false } } = sweep;
  for (const [id, lost] of await damaged.containers(sweep.damaged, network)) {
    signal?.throwIfAborted();
    const remove = async () => {
      const isUp = await hasSandbox(id);
      return await damaged.removeUnused(id, { isUp, all, lost, dryRun, network, signal });
    };
    if (dryRun) {
      addOutcomes(sweep, await remove());
      continue;
    }
    const outcome = await tryContainerLock(locks, id, remove);
    if (!outcome.isBusy) addOutcomes(sweep, outcome.value);
    else sweep.report.kept.push({ kind: "attachment", containerId: id, why: UNDER_WAY });
  }
}

function addOutcomes({ report }: Sweep, outcomes: readonly DamagedOutcome[]): void {
  for (const { became, ...item } of outcomes) report[became].push({ kind: "attachment", ...item });
}
