import { inParallel } from "../async/parallel.ts";
import { addToReport, emptyReport, UNDER_WAY } from "../gc/report.ts";
import type { HostPorts } from "../state/host_ports.ts";
import type { InterfaceClaims } from "../state/interface_claims.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import { recoverInTime } from "./bounded_recovery.ts";
import { endedContainers } from "./container_end.ts";
import {
  type ContainerRecoveryContext,
  recoverContainer,
  type RecoveryOutcome,
  type RecoveryPolicy,
} from "./container_recovery.ts";
import { findInOrder, type InOrderContext } from "./in_order.ts";
import { sweepInside } from "./inside.ts";
import { RecoveredBoot } from "./recovered_boot.ts";
import { logReport, type RecoverOptions, type RecoveryItem, type RecoveryReport } from "./recovery_report.ts";

/** The dependencies of {@linkcode Recovery}. */
export interface RecoveryContext extends ContainerRecoveryContext, InOrderContext {
  readonly ports: HostPorts;
  readonly claims: InterfaceClaims;
  /** Refuses directories that other users can write in. @default {nothing is refused} */
  readonly requireSafe?: (() => Promise<void>) | undefined;
  /** Refuses a state directory with the layout of a newer version. @default {nothing is refused} */
  readonly requireKnown?: (() => Promise<void>) | undefined;
}

interface RecoverAllOptions extends Omit<RecoverOptions, "signal"> {
  /** The reports of containers that need nothing. */
  readonly inOrder?: ReadonlyMap<string, RecoveryReport>;
}

const DEFAULT_CONCURRENCY = 8;
/** Verbs that leave no record: only their processes show that they were in progress. */
const UNRECORDED_VERBS: readonly string[] = ["CHECK", "GC", "STATUS", "VERSION"];

/**
 * Finishes or undoes what a crash or a reboot interrupted. A container that a living process works on is recognized by its
 * lock and left alone, so that several recoveries share the work.
 */
export class Recovery {
  readonly #context: RecoveryContext;
  readonly #recoveredBoot: RecoveredBoot;

  constructor(context: RecoveryContext) {
    this.#context = context;
    this.#recoveredBoot = new RecoveredBoot(context);
  }

  /**
   * Runs before anything new is attached. After a reboot it tears down everything that the last boot left, so that the
   * addresses are free; otherwise it recovers only from operations that were killed. The first process tears down, and the
   * others wait for it. The caller holds no lock.
   */
  async beforeFirstAdd(signal?: AbortSignal): Promise<void> {
    await this.#context.requireSafe?.();
    const boot = await this.#context.attachments.boot();
    const report = emptyReport<RecoveryItem>();
    if (await this.#recoveredBoot.is(boot)) await this.#recoverInterrupted(report, signal);
    else await this.#recoverBoot(boot, report, signal);
    logReport(report, this.#context.log, { removed: "recovered", failed: "not recovered" });
  }

  /** Recovers everything on record, retries failed removals, and removes namespaces that no sandbox owns. */
  async recover(options: RecoverOptions = {}): Promise<RecoveryReport> {
    const { signal, ...more } = options;
    signal?.throwIfAborted();
    await this.#context.requireKnown?.();
    const report = emptyReport<RecoveryItem>();
    await this.#endUnrecordedVerbs(signal);
    const boot = await this.#context.attachments.boot();
    const { ids, lost } = await this.#everything(await this.#context.orphans.namespaces());
    const inOrder = await findInOrder(ids, { lost, signal }, this.#context);
    await this.#recoverAll(ids, report, { retry: "all", waits: false, lost, signal }, { ...more, inOrder });
    await this.#sweepFiles(signal);
    await sweepInside(this.#context);
    const { ports, claims, log } = this.#context;
    await writeBestEffort(() => ports.sweep(signal), log, {});
    await writeBestEffort(() => claims.sweep(signal), log, {});
    // A container that another process works on may be of another boot, and may not be torn down yet.
    if (!report.kept.some(({ why }) => why === UNDER_WAY)) await this.#recoveredBoot.write(boot);
    return report;
  }

  /**
   * Tears down the sandboxes of containers that have ended. These hold addresses, ports and names that the next container may
   * need. Without `ids`, looks at all sandboxes that end with a container. The caller holds no lock.
   */
  async tearDownEndedContainers(signal?: AbortSignal, ids?: readonly string[]): Promise<RecoveryReport> {
    const report = emptyReport<RecoveryItem>();
    const ended = ids ?? await endedContainers(this.#context, signal);
    await this.#recoverAll(ended, report, { retry: "none", waits: false, signal });
    return report;
  }

  async #endUnrecordedVerbs(signal: AbortSignal | undefined): Promise<void> {
    await this.#context.running.endAbandoned(({ task }) => UNRECORDED_VERBS.includes(task), signal);
  }

  /** Looks only at containers with an abandoned lock file, however many records there are. */
  async #recoverInterrupted(report: RecoveryReport, signal: AbortSignal | undefined): Promise<void> {
    const { locks, timeouts, log } = this.#context;
    const abandoned = await locks.containers.listAbandoned();
    if (abandoned.length === 0) return;
    const recover = async (signal: AbortSignal, onProgress: RecoverOptions["onProgress"]) => {
      await this.#endUnrecordedVerbs(signal);
      const policy = { retry: "none", waits: false, signal } as const;
      const outcomes = await this.#recoverAll(abandoned, report, policy, { onProgress });
      // A process that was killed while it wrote the first record of a container has left only an unfinished file.
      if (outcomes.some(({ wasFree }) => wasFree)) await this.#sweepFiles(signal);
    };
    await recoverInTime(abandoned, { recover, limitMs: timeouts.ADD, log, signal });
  }

  async #recoverBoot(boot: string, report: RecoveryReport, signal: AbortSignal | undefined): Promise<void> {
    using _boot = await this.#context.locks.machine.boot(signal);
    if (await this.#recoveredBoot.is(boot)) return;
    // Nothing is attached before this ends, so a process that holds a container's lock is tearing it down.
    const { ids, lost } = await this.#everything();
    await this.#recoverAll(ids, report, { retry: "of other boots", waits: true, lost, signal });
    await this.#sweepFiles(signal, { isAlone: true });
    await sweepInside(this.#context);
    await this.#recoveredBoot.write(boot);
  }

  /** Returns every container that has something on disk, and the attachments whose records are lost. */
  async #everything(others: readonly string[] = []) {
    const { store, failed, locks, orphans, lost: records } = this.#context;
    const lost = Map.groupBy(await records.all(), ({ containerId }) => containerId);
    const ids = [
      ...await locks.containers.list(),
      // Those of sandboxes too.
      ...await store.containers(),
      ...await failed.containers(),
      ...await orphans.containers(),
      ...lost.keys(),
      ...others,
    ];
    return { ids: [...new Set(ids)], lost };
  }

  async #recoverAll(
    ids: readonly string[],
    report: RecoveryReport,
    policy: Omit<RecoveryPolicy, "pass">,
    { onProgress, concurrency = DEFAULT_CONCURRENCY, inOrder }: RecoverAllOptions = {},
  ): Promise<readonly RecoveryOutcome[]> {
    const pass = this.#context.orphans.startPass();
    let done = 0;
    const recover = async (id: string) => {
      const known = inOrder?.get(id);
      const outcome = known === undefined
        ? await recoverContainer(id, { ...policy, pass }, this.#context)
        : { report: known, wasFree: true };
      onProgress?.({ done: ++done, total: ids.length, item: id });
      return outcome;
    };
    const outcomes = await inParallel(ids, concurrency, recover, policy.signal);
    for (const outcome of outcomes) addToReport(report, outcome.report);
    return outcomes;
  }

  async #sweepFiles(signal: AbortSignal | undefined, { isAlone = false } = {}): Promise<void> {
    const { sandboxes, locks, cache, failed, ports, claims } = this.#context;
    {
      using _names = await locks.machine.names(signal);
      await sandboxes.removeUnfinished({ isAlone });
    }
    await locks.pools.removeAbandoned();
    await cache.removeUnfinished();
    await failed.removeUnfinished();
    await ports.removeUnfinished();
    await claims.removeUnfinished();
  }
}
