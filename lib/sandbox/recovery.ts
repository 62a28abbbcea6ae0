import type { FailedIndex } from "../state/failed_index.ts";
import { UNDER_WAY } from "../gc/report.ts";
import type { HostPorts } from "../state/host_ports.ts";
import type { InterfaceClaims } from "../state/interface_claims.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import { inParallel } from "../async/parallel.ts";
import type { LostAttachment, LostRecords } from "../state/lost_records.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { NEWER } from "../state/checksummed.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { settleInTime } from "./bounded_settling.ts";
import { type ContainerEnd, containerEnd, endedContainers } from "./container_end.ts";
import { tearDown } from "./tear_down.ts";
import { removalVerdict } from "./removal_verdict.ts";
import { infraBundle } from "./infra.ts";
import { newerBundle } from "./infra_bundle.ts";
import type { OrphanPass, Orphans } from "./orphans.ts";
import type { SandboxContext } from "./context.ts";
import { type SandboxRecord, stopped } from "./record.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import type { DamagedRecord } from "./damaged_record.ts";
import {
  addAttachments,
  addDamaged,
  addTo,
  emptyReport,
  itemOf,
  type RecoverOptions,
  type RecoveryReport,
} from "./recovery_report.ts";
import { SettledBoot } from "./settled_boot.ts";
import { infraProblem } from "./view.ts";

/** The parts that {@linkcode Recovery} works with. */
export interface RecoveryContext extends SandboxContext {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly ports: HostPorts;
  readonly claims: InterfaceClaims;
  readonly lost: LostRecords;
  readonly failed: FailedIndex;
  readonly orphans: Orphans;
  readonly damagedSandboxes: DamagedSandboxes;
  /** Refuses directories that others can write in. @default {nothing is refused} */
  readonly requireSafe?: (() => Promise<void>) | undefined;
  /** Refuses a state directory that a newer version has laid out. @default {nothing is refused} */
  readonly requireKnown?: (() => Promise<void>) | undefined;
}

const DEFAULT_CONCURRENCY = 8;
/** No record tells that these were under way. */
const QUESTIONS: readonly string[] = ["CHECK", "GC", "STATUS", "VERSION"];

/** How one container is settled. */
interface RecoveryPolicy {
  /** Of the failed removals, which are tried again. */
  readonly retry: "all" | "of other boots" | "none";
  /** Whether an operation under way is waited for, or its container left to it. */
  readonly waits: boolean;
  /** Attachments whose records are lost, by container, where all were looked for. */
  readonly lost?: ReadonlyMap<string, readonly LostAttachment[]> | undefined;
  readonly pass: OrphanPass;
  readonly signal: AbortSignal | undefined;
}

/** What became of one container. */
interface Outcome {
  readonly report: RecoveryReport;
  /** Nobody was working on it. */
  readonly wasFree: boolean;
}

/**
 * Finishes or undoes what a crash or a reboot interrupted. What a living process is working on is
 * known by its lock and left alone, so that several recoveries share the work.
 */
export class Recovery {
  readonly #context: RecoveryContext;
  readonly #settledBoot: SettledBoot;

  constructor(context: RecoveryContext) {
    this.#context = context;
    this.#settledBoot = new SettledBoot(context);
  }

  /**
   * What has to happen before anything new is attached: after a reboot all that the last boot left is
   * torn down, so that its addresses are free; else only operations that were killed are settled. Whoever comes first
   * tears down, and others wait for that. The caller holds no lock.
   */
  async beforeFirstAdd(signal?: AbortSignal): Promise<void> {
    await this.#context.requireSafe?.();
    const boot = await this.#context.attachments.boot();
    const report = emptyReport();
    if (await this.#settledBoot.is(boot)) await this.#settleInterrupted(report, signal);
    else await this.#settleBoot(boot, report, signal);
    const { log } = this.#context;
    for (const { why, ...item } of report.removed) log.info(`recovered: ${why}`, { ...item });
    for (const { why, ...item } of report.failed) log.warn(`not recovered: ${why}`, { ...item });
  }

  /** Settles everything on record, retries failed removals, and removes namespaces that nobody owns. */
  async recover(options: RecoverOptions = {}): Promise<RecoveryReport> {
    const { signal, ...more } = options;
    signal?.throwIfAborted();
    await this.#context.requireKnown?.();
    const report = emptyReport();
    await this.#endQuestions(signal);
    const boot = await this.#context.attachments.boot();
    const all = await this.#everything(await this.#context.orphans.namespaces());
    await this.#settleAll(all.ids, report, { retry: "all", waits: false, lost: all.lost, signal }, more);
    await this.#sweepFiles(signal);
    const { ports, claims, log } = this.#context;
    await writeBestEffort(() => ports.sweep(signal), log, {});
    await writeBestEffort(() => claims.sweep(signal), log, {});
    // What somebody works on may be of another boot, and not be gone yet.
    if (!report.kept.some(({ why }) => why === UNDER_WAY)) await this.#settledBoot.note(boot);
    return report;
  }

  async #endQuestions(signal: AbortSignal | undefined): Promise<void> {
    await this.#context.running.endAbandoned(({ task }) => QUESTIONS.includes(task), signal);
  }

  /**
   * Takes down the sandboxes of containers that are gone, which hold addresses, ports and names that the next one may want;
   * of all such, unless some are named. The caller holds no lock.
   */
  async tearDownEndedContainers(signal?: AbortSignal, ids?: readonly string[]): Promise<RecoveryReport> {
    const report = emptyReport();
    const ended = ids ?? await endedContainers(this.#context, signal);
    await this.#settleAll(ended, report, { retry: "none", waits: false, signal });
    return report;
  }

  /** Looks at operations under way and at nothing else, however much is on record. */
  async #settleInterrupted(report: RecoveryReport, signal: AbortSignal | undefined): Promise<void> {
    const { locks, timeouts, log } = this.#context;
    const left = await locks.containers.listAbandoned();
    if (left.length === 0) return;
    const settle = async (signal: AbortSignal, onProgress: RecoverOptions["onProgress"]) => {
      await this.#endQuestions(signal);
      const manner = { retry: "none", waits: false, signal } as const;
      const found = await this.#settleAll(left, report, manner, onProgress && { onProgress });
      // Whoever was killed while writing the first record of a container has left no other trace of that.
      if (found.some(({ wasFree }) => wasFree)) await this.#sweepFiles(signal);
    };
    await settleInTime(left, { settle, limitMs: timeouts.ADD, log, signal });
  }

  async #settleBoot(boot: string, report: RecoveryReport, signal: AbortSignal | undefined): Promise<void> {
    using _boot = await this.#context.locks.machine.boot(signal);
    if (await this.#settledBoot.is(boot)) return;
    // Nobody attaches before this is over, so whoever holds a container is tearing it down.
    const all = await this.#everything();
    await this.#settleAll(all.ids, report, { retry: "of other boots", waits: true, lost: all.lost, signal });
    await this.#sweepFiles(signal);
    await this.#settledBoot.note(boot);
  }

  /** Every container of which there is something on disk, and the attachments whose records are lost. */
  async #everything(others: readonly string[] = []) {
    const { sandboxes, store, failed, locks, lost: records } = this.#context;
    const lost = Map.groupBy(await records.all(), ({ containerId }) => containerId);
    const ids = [
      ...await locks.containers.list(),
      ...await sandboxes.ids(),
      ...await store.containers(),
      ...await failed.containers(),
      ...await this.#context.orphans.containers(),
      ...lost.keys(),
      ...others,
    ];
    return { ids: [...new Set(ids)], lost };
  }

  async #settleAll(
    ids: readonly string[],
    report: RecoveryReport,
    manner: Omit<RecoveryPolicy, "pass">,
    { onProgress, concurrency = DEFAULT_CONCURRENCY }: Omit<RecoverOptions, "signal"> = {},
  ): Promise<readonly Outcome[]> {
    const pass = this.#context.orphans.startPass();
    let done = 0;
    const settle = async (id: string) => {
      const settled = await this.#settle(id, { ...manner, pass });
      onProgress?.({ done: ++done, total: ids.length, item: id });
      return settled;
    };
    const all = await inParallel(ids, concurrency, settle, manner.signal);
    for (const settled of all) addTo(report, settled.report);
    return all;
  }

  async #sweepFiles(signal: AbortSignal | undefined): Promise<void> {
    {
      using _names = await this.#context.locks.machine.names(signal);
      await this.#context.sandboxes.removeUnfinished();
    }
    await this.#context.locks.pools.removeAbandoned();
    await this.#context.cache.removeUnfinished();
    await this.#context.failed.removeUnfinished();
    await this.#context.ports.removeUnfinished();
    await this.#context.claims.removeUnfinished();
  }

  async #settle(id: string, manner: RecoveryPolicy): Promise<Outcome> {
    const { locks } = this.#context;
    const { signal, waits } = manner;
    const report = emptyReport();
    let wasFree = false;
    try {
      using lock = waits ? await locks.containers.lock(id, signal) : await locks.containers.tryLock(id);
      if (lock === undefined) {
        report.kept.push({ kind: "sandbox", containerId: id, why: UNDER_WAY });
        return { report, wasFree };
      }
      wasFree = true;
      try {
        await this.#settleLocked(id, manner, report);
      } finally {
        // What was cut short is still to be found by its lock file.
        if (!signal?.aborted) await lock.remove();
      }
    } catch (error) {
      report.failed.push({ kind: "sandbox", containerId: id, why: asCniError(error).message });
    }
    return { report, wasFree };
  }

  async #settleLocked(id: string, manner: RecoveryPolicy, report: RecoveryReport): Promise<void> {
    const { sandboxes, store, attachments, running, log } = this.#context;
    const found = await sandboxes.look(id);
    const damaged = found !== undefined && "text" in found ? found : undefined;
    const sandbox = found !== undefined && "text" in found ? undefined : found;
    const { records, damaged: lost } = await store.scan(id);
    const bundle = infraBundle(this.#context.stateDir, id);
    const newer = [damaged, ...lost].find((each) => each?.isNewer)?.file ??
      (await newerBundle(bundle) && bundle);
    if (newer !== undefined) {
      // Nobody here knows what goes with it.
      report.kept.push({ kind: "sandbox", containerId: id, file: newer, why: `its record ${NEWER}` });
      return;
    }
    await store.removeUnfinished(id);
    const isUp = damaged !== undefined && await this.#keep(damaged, report);
    await running.endAbandonedOf(id, manner.signal);
    const doomed = await this.#settleSandbox(sandbox, records, manner, report);
    if (!doomed) {
      await this.#settleAttachments(sandbox !== undefined || isUp, records, manner, report);
      const facts = { isUp: isUp || sandbox?.phase === "ready", netns: sandbox?.netns };
      const more = { lost: manner.lost && (manner.lost.get(id) ?? []), signal: manner.signal };
      addDamaged(report, await this.#context.damaged.settle(id, { ...facts, ...more }));
    }
    if (sandbox === undefined && !isUp) {
      addTo(report, await manner.pass.settle(id));
      if (report.kept.length + report.failed.length === 0) await sandboxes.forgetDamaged(id);
    }
    await writeBestEffort(() => attachments.syncRetryHint(id), log, { containerId: id });
  }

  /** Gives whether a sandbox whose record is damaged counts as up; then it is kept. */
  async #keep(damaged: DamagedRecord, report: RecoveryReport): Promise<boolean> {
    if (!await this.#context.damagedSandboxes.isUp(damaged)) return false;
    const { id, file } = damaged;
    report.kept.push({
      kind: "sandbox",
      containerId: id,
      file,
      why: this.#context.damagedSandboxes.why(damaged),
    });
    return true;
  }

  /** Gives whether the sandbox, with all of its attachments, was taken down. */
  async #settleSandbox(
    sandbox: SandboxRecord | undefined,
    records: readonly AttachmentRecord[],
    { signal, lost }: RecoveryPolicy,
    report: RecoveryReport,
  ): Promise<boolean> {
    if (sandbox === undefined) return false;
    const item = { kind: "sandbox", containerId: sandbox.id, netns: sandbox.netns.path } as const;
    const end = await containerEnd(sandbox, this.#context, signal);
    const why = await this.#doom(sandbox, end);
    if (why === undefined) {
      const state = end?.why ?? (sandbox.phase === "stopped" ? "it is stopped" : "it is running");
      report.kept.push({ ...item, why: state });
      return false;
    }
    const { sandboxes } = this.#context;
    const { failures, damaged, left } = await tearDown(sandbox, this.#context, {
      signal,
      lost: lost && (lost.get(sandbox.id) ?? []),
    });
    await addAttachments(report, records, why, this.#context.store);
    addDamaged(report, damaged);
    // A pod of an engine is on record only while it is up.
    const { phase, owner, pool, container } = sandbox;
    const goes = phase === "creating" || phase === "removing" || owner !== undefined || pool !== undefined ||
      container !== undefined ||
      !await sandboxes.isNamed(sandbox);
    // It was about to be handed out.
    if (pool !== undefined) await sandboxes.forgetName(sandbox.id);
    if (goes) await sandboxes.remove(sandbox);
    else await sandboxes.write(stopped(sandbox, left));
    const failed = failures.map(({ message }) => message).join("; ");
    report[failed === "" ? "removed" : "failed"].push({ ...item, why: failed || why });
    return true;
  }

  /** Why a sandbox has to come down, if it has to. */
  async #doom(sandbox: SandboxRecord, end: ContainerEnd | undefined): Promise<string | undefined> {
    const { phase, bootId, reason, pool } = sandbox;
    if (phase === "creating") return "its run was interrupted";
    if (phase === "stopping") return "its stop was interrupted";
    if (phase === "removing") return "its removal was interrupted";
    if (phase === "ready" && bootId !== await this.#context.attachments.boot()) {
      return "the machine was restarted";
    }
    if (pool !== undefined && !await this.#context.locks.pools.isHeld(pool)) {
      return "whoever kept it ready for others is gone";
    }
    if (end?.isOver) return end.why;
    if (phase === "ready") return await infraProblem(sandbox, this.#context);
    return reason === undefined ? undefined : "its stop had failed";
  }

  async #settleAttachments(
    hasSandbox: boolean,
    records: readonly AttachmentRecord[],
    { retry, signal }: RecoveryPolicy,
    report: RecoveryReport,
  ): Promise<void> {
    const boot = await this.#context.attachments.boot();
    for (const record of records.toReversed()) {
      const why = removalVerdict(record, hasSandbox, boot);
      const isRetry = record.state === "failed";
      const isLeft = isRetry && (retry === "none" || (retry === "of other boots" && record.bootId === boot));
      if (why === undefined || isLeft) {
        report.kept.push(itemOf(record, why ?? "it is attached"));
        continue;
      }
      await this.#context.attachments.remove(record, signal).catch(() => {
        // The record says what failed, and is reported from there.
      });
      await addAttachments(report, [record], why, this.#context.store);
    }
  }
}
