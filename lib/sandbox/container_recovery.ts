import { asCniError } from "../errors/to_cni_error.ts";
import { addToReport, attachmentItem, emptyReport, UNDER_WAY } from "../gc/report.ts";
import { removalReason } from "../gc/verdict.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { NEWER } from "../state/checksummed.ts";
import type { LostAttachment, LostAttachments } from "../state/lost_attachments.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import { containerEnd } from "./container_end.ts";
import type { SandboxContext } from "./context.ts";
import { type DamagedRecord, isDamaged } from "./damaged_record.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import { infraBundle } from "./infra.ts";
import { newerBundle } from "./infra_bundle.ts";
import type { OrphanPass, Orphans } from "./orphans.ts";
import { type SandboxRecord, stopped } from "./record.ts";
import { addAttachments, addDamaged, type RecoveryItem, type RecoveryReport } from "./recovery_report.ts";
import { sandboxVerdict } from "./sandbox_verdict.ts";
import { tearDown } from "./tear_down.ts";

/** The dependencies of {@linkcode recoverContainer}. */
export interface ContainerRecoveryContext extends SandboxContext {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly lost: LostAttachments;
  readonly orphans: Orphans;
  readonly damagedSandboxes: DamagedSandboxes;
}

/** How one container is recovered. */
export interface RecoveryPolicy {
  /** Which failed removals are tried again. */
  readonly retry: "all" | "of other boots" | "none";
  /** Whether recovery waits for an operation in progress, or leaves its container alone. */
  readonly waits: boolean;
  /** Attachments whose records are lost, by container, if they were looked for. */
  readonly lost?: ReadonlyMap<string, readonly LostAttachment[]> | undefined;
  readonly pass: OrphanPass;
  readonly signal: AbortSignal | undefined;
}

/** The outcome of the recovery of one container. */
export interface RecoveryOutcome {
  readonly report: RecoveryReport;
  /** Whether no other process was working on the container. */
  readonly wasFree: boolean;
}

/** Finishes or undoes what a crash or a reboot interrupted on one container. Failures are reported, not thrown. */
export async function recoverContainer(
  id: string,
  policy: RecoveryPolicy,
  context: ContainerRecoveryContext,
): Promise<RecoveryOutcome> {
  const { containers } = context.locks;
  const { signal, waits } = policy;
  const report = emptyReport<RecoveryItem>();
  let wasFree = false;
  try {
    using lock = waits ? await containers.lock(id, signal) : await containers.tryLock(id);
    if (lock === undefined) {
      report.kept.push({ kind: "sandbox", containerId: id, why: UNDER_WAY });
      return { report, wasFree };
    }
    wasFree = true;
    try {
      await new ContainerRecovery(id, policy, context, report).run();
    } finally {
      // After a cancellation the lock file stays, so that the next recovery finds the container by it.
      if (!signal?.aborted) await lock.remove();
    }
  } catch (error) {
    report.failed.push({ kind: "sandbox", containerId: id, why: asCniError(error).message });
  }
  return { report, wasFree };
}

/** Recovers one container, whose lock is held, and writes to the report. */
class ContainerRecovery {
  readonly #id: string;
  readonly #policy: RecoveryPolicy;
  readonly #context: ContainerRecoveryContext;
  readonly #report: RecoveryReport;

  constructor(
    id: string,
    policy: RecoveryPolicy,
    context: ContainerRecoveryContext,
    report: RecoveryReport,
  ) {
    this.#id = id;
    this.#policy = policy;
    this.#context = context;
    this.#report = report;
  }

  async run(): Promise<void> {
    const id = this.#id;
    const report = this.#report;
    const { sandboxes, store, attachments, running, log, stateDir } = this.#context;
    const { signal, pass } = this.#policy;
    const found = await sandboxes.readAny(id);
    const damaged = found && isDamaged(found) ? found : undefined;
    const sandbox = found && isDamaged(found) ? undefined : found;
    const { records, damaged: damagedAttachments } = await store.scan(id);
    const bundle = infraBundle(stateDir, id);
    const newer = [damaged, ...damagedAttachments].find((each) => each?.isNewer)?.file ??
      (await newerBundle(bundle) && bundle);
    if (newer !== undefined) {
      // This version does not know what else belongs to it.
      report.kept.push({ kind: "sandbox", containerId: id, file: newer, why: `its record ${NEWER}` });
      return;
    }
    const isUp = damaged !== undefined && await this.#keepIfUp(damaged);
    await running.endAbandonedOf(id, signal);
    if (sandbox !== undefined) await writeBestEffort(() => sandboxes.relist(sandbox), log, { sandbox: id });
    if (!await this.#tearDownSandbox(sandbox, records)) {
      await this.#recoverAttachments(sandbox !== undefined || isUp, records);
      await this.#recoverDamagedAttachments(sandbox, isUp);
    }
    if (sandbox === undefined && !isUp) {
      addToReport<RecoveryItem>(report, await pass.remove(id));
      if (report.kept.length + report.failed.length === 0) await sandboxes.forgetDamaged(id);
    }
    await writeBestEffort(() => attachments.syncRetryHint(id), log, { containerId: id });
  }

  /** Keeps a sandbox whose record is damaged if it counts as up. Returns whether it does. */
  async #keepIfUp(damaged: DamagedRecord): Promise<boolean> {
    const { damagedSandboxes } = this.#context;
    if (!await damagedSandboxes.isUp(damaged)) return false;
    const { id, file } = damaged;
    this.#report.kept.push({ kind: "sandbox", containerId: id, file, why: damagedSandboxes.why(damaged) });
    return true;
  }

  /** Tears down the sandbox with all of its attachments if there is a reason to. Returns whether it did. */
  async #tearDownSandbox(
    sandbox: SandboxRecord | undefined,
    records: readonly AttachmentRecord[],
  ): Promise<boolean> {
    if (sandbox === undefined) return false;
    const report = this.#report;
    const { signal, lost } = this.#policy;
    const item = { kind: "sandbox", containerId: sandbox.id, netns: sandbox.netns.path } as const;
    const end = await containerEnd(sandbox, this.#context, signal);
    const why = await sandboxVerdict(sandbox, end, this.#context);
    if (why === undefined) {
      const state = end?.why ?? (sandbox.phase === "stopped" ? "it is stopped" : "it is running");
      report.kept.push({ ...item, why: state });
      return false;
    }
    const { failures, damaged, left } = await tearDown(sandbox, this.#context, {
      signal,
      lost: lost && (lost.get(sandbox.id) ?? []),
    });
    await addAttachments(report, records, why, this.#context.store);
    addDamaged(report, damaged);
    await this.#writeOutcome(sandbox, left);
    const failed = failures.map(({ message }) => message).join("; ");
    report[failed === "" ? "removed" : "failed"].push({ ...item, why: failed || why });
    return true;
  }

  /** Removes the record of a sandbox that was torn down, or keeps it as stopped. */
  async #writeOutcome(sandbox: SandboxRecord, left: string | undefined): Promise<void> {
    const { sandboxes } = this.#context;
    const { phase, owner, pool, container } = sandbox;
    // The record of an engine's pod exists only while the pod is up.
    const goes = phase === "creating" || phase === "removing" || owner !== undefined || pool !== undefined ||
      container !== undefined ||
      !await sandboxes.isNamed(sandbox);
    // The warm sandbox may have been about to get a name.
    if (pool !== undefined) await sandboxes.forgetName(sandbox.id);
    if (goes) await sandboxes.remove(sandbox);
    else await sandboxes.write(stopped(sandbox, left));
  }

  async #recoverAttachments(hasSandbox: boolean, records: readonly AttachmentRecord[]): Promise<void> {
    const report = this.#report;
    const { retry, signal } = this.#policy;
    const { attachments, store } = this.#context;
    const boot = await attachments.boot();
    for (const record of records.toReversed()) {
      const why = removalReason(record, { hasSandbox, boot });
      const isRetry = record.state === "failed";
      const isSkipped = isRetry &&
        (retry === "none" || (retry === "of other boots" && record.bootId === boot));
      if (why === undefined || isSkipped) {
        report.kept.push({ ...attachmentItem(record), why: why ?? "it is attached" });
        continue;
      }
      await attachments.remove(record, signal).catch(() => {
        // The record contains the failure, and the report reads it from there.
      });
      await addAttachments(report, [record], why, store);
    }
  }

  async #recoverDamagedAttachments(sandbox: SandboxRecord | undefined, isUp: boolean): Promise<void> {
    const { lost, signal } = this.#policy;
    const outcomes = await this.#context.damaged.removeUnused(this.#id, {
      isUp: isUp || sandbox?.phase === "ready",
      netns: sandbox?.netns,
      lost: lost && (lost.get(this.#id) ?? []),
      signal,
    });
    addDamaged(this.#report, outcomes);
  }
}
