import type { RunCommand } from "../host/command.ts";
import { ensureDir, listDir, readTextIfThere, writeFileSynced } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { removeNetns } from "../host/netns.ts";
import { endOrphans } from "../host/orphans.ts";
import type { ContainerLocks } from "../network/container_lock.ts";
import { sandboxOf, whyUnfinished } from "../network/gc_plan.ts";
import type { Attachments } from "../network/network.ts";
import type { AttachmentRecord, AttachmentStore } from "../network/record.ts";
import type { ResultCache } from "../network/result_cache.ts";
import { asCniError } from "../plugin/failure.ts";
import type { PodNetworks } from "../pod/pod.ts";
import { dismantle } from "./dismantle.ts";
import { infraBundle, sweepInfra } from "./infra.ts";
import type { SandboxRecord, SandboxStore } from "./record.ts";

/** One thing that recovery looked at. */
export interface RecoveryItem {
  /** What it is. */
  readonly kind: "attachment" | "sandbox" | "namespace" | "container";
  /** Whose it is. */
  readonly containerId: string;
  /** Of an attachment. */
  readonly network?: string;
  /** Of an attachment. */
  readonly ifName?: string;
  /** The path of the namespace. */
  readonly netns?: string;
  /** Why it was removed or kept, or why it could not be. */
  readonly why: string;
}

/** What recovery did; `recover --json` prints it. */
export interface RecoveryReport {
  /** What is gone now. */
  readonly removed: RecoveryItem[];
  /** What is as it should be. */
  readonly kept: RecoveryItem[];
  /** What could not be removed, and stays on record. */
  readonly failed: RecoveryItem[];
}

/** The parts that {@linkcode Recovery} works with. */
export interface RecoveryOptions {
  readonly sandboxes: SandboxStore;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly attachments: Attachments;
  readonly pods: PodNetworks;
  readonly locks: ContainerLocks;
  readonly netnsDir: string;
  /** What the names of namespaces that are podwire's begin with; the ID follows. */
  readonly netnsPrefix: string;
  readonly stateDir: string;
  /** Where programs are looked for, as in the variable `PATH`. */
  readonly path: string;
  readonly run: RunCommand;
  readonly log: Logger;
}

/**
 * Finishes or undoes what a crash or a reboot interrupted. What a living process is working on is
 * known by its lock and left alone.
 */
export class Recovery {
  readonly #options: RecoveryOptions;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /**
   * What has to happen before anything new is attached: after a reboot all that the last boot left is
   * torn down, so that its addresses are free; else only operations that were killed are settled.
   */
  async beforeFirstAdd(signal?: AbortSignal): Promise<void> {
    const { locks, attachments, stateDir, log } = this.#options;
    const file = `${stateDir}/boot-id`;
    const boot = await attachments.boot();
    const report = emptyReport();
    if (await readTextIfThere(file) === boot) {
      const interrupted = await locks.present();
      for (const id of interrupted) await this.#settle(id, report, { retryFailed: false }, signal);
      if (interrupted.length > 0) await this.#sweepFiles();
    } else {
      using _sweep = await locks.sweep({ shared: false, ...(signal && { signal }) });
      if (await readTextIfThere(file) !== boot) {
        await this.#settleAll(report, [], signal);
        await ensureDir(stateDir, 0o700);
        await writeFileSynced(file, boot);
      }
    }
    for (const { why, ...item } of report.removed) log.info(`recovered: ${why}`, { ...item });
    for (const { why, ...item } of report.failed) log.warn(`not recovered: ${why}`, { ...item });
  }

  /** Settles everything on record, retries failed removals, and removes namespaces that nobody owns. */
  async recover(signal?: AbortSignal): Promise<RecoveryReport> {
    const { locks, netnsDir, netnsPrefix } = this.#options;
    const report = emptyReport();
    using _sweep = await locks.sweep({ shared: true, ...(signal && { signal }) });
    const names = (await listDir(netnsDir)).filter((name) => name.startsWith(netnsPrefix));
    await this.#settleAll(report, names.map((name) => name.slice(netnsPrefix.length)), signal);
    return report;
  }

  async #settleAll(
    report: RecoveryReport,
    ofNamespaces: readonly string[],
    signal?: AbortSignal,
  ): Promise<void> {
    const { sandboxes, store, locks, stateDir } = this.#options;
    const ids = new Set([
      ...await locks.present(),
      ...await sandboxes.ids(),
      ...await store.containers(),
      ...await listDir(`${stateDir}/infra`),
      ...ofNamespaces,
    ]);
    for (const id of ids) {
      signal?.throwIfAborted();
      await this.#settle(id, report, { retryFailed: true }, signal);
    }
    await this.#sweepFiles();
  }

  async #sweepFiles(): Promise<void> {
    await this.#options.sandboxes.removeUnfinished();
    await this.#options.cache.removeUnfinished();
  }

  async #settle(
    id: string,
    report: RecoveryReport,
    options: { retryFailed: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    const { locks, sandboxes, store } = this.#options;
    using lock = await locks.tryLock(id);
    if (lock === undefined) {
      report.kept.push({ kind: "sandbox", containerId: id, why: "an operation on it is under way" });
      return;
    }
    try {
      await store.removeUnfinished(id);
      const sandbox = await sandboxes.read(id);
      const records = await store.ofContainer(id);
      if (isInterrupted(sandbox, records)) await endOrphans(`CNI_CONTAINERID=${id}`, this.#options.run);
      const doomed = await this.#settleSandbox(sandbox, records, report, signal);
      if (!doomed) await this.#settleAttachments(sandbox, records, options, report, signal);
      if (sandbox === undefined) await this.#sweepHost(id, report);
    } catch (error) {
      report.failed.push({ kind: "sandbox", containerId: id, why: asCniError(error).message });
    } finally {
      await lock.remove();
    }
  }

  /** Gives whether the sandbox, with all of its attachments, was taken down. */
  async #settleSandbox(
    sandbox: SandboxRecord | undefined,
    records: readonly AttachmentRecord[],
    report: RecoveryReport,
    signal?: AbortSignal,
  ): Promise<boolean> {
    if (sandbox === undefined) return false;
    const item = { kind: "sandbox", containerId: sandbox.id, netns: sandbox.netns.path } as const;
    const why = await this.#doom(sandbox);
    if (why === undefined) {
      const state = sandbox.phase === "stopped" ? "it is stopped" : "it is running";
      report.kept.push({ ...item, why: state });
      return false;
    }
    const { sandboxes } = this.#options;
    const failures = await dismantle(sandbox, this.#options, signal === undefined ? {} : { signal });
    await this.#tell(records, why, report);
    if (sandbox.phase === "creating" || sandbox.phase === "removing") await sandboxes.remove(sandbox);
    else await sandboxes.write({ ...sandbox, phase: "stopped", pid: undefined });
    if (failures.length === 0) report.removed.push({ ...item, why });
    else report.failed.push({ ...item, why: failures.map(({ message }) => message).join("; ") });
    return true;
  }

  /** Why a sandbox has to come down, if it has to. */
  async #doom({ phase, bootId }: SandboxRecord): Promise<string | undefined> {
    if (phase === "creating") return "its run was interrupted";
    if (phase === "stopping") return "its stop was interrupted";
    if (phase === "removing") return "its removal was interrupted";
    if (phase === "ready" && bootId !== await this.#options.attachments.boot()) {
      return "the machine was restarted";
    }
    return undefined;
  }

  async #settleAttachments(
    sandbox: SandboxRecord | undefined,
    records: readonly AttachmentRecord[],
    { retryFailed }: { retryFailed: boolean },
    report: RecoveryReport,
    signal?: AbortSignal,
  ): Promise<void> {
    const boot = await this.#options.attachments.boot();
    for (const record of records.toReversed()) {
      const why = doomOf(record, sandbox, boot);
      if (why === undefined || (record.state === "failed" && !retryFailed)) {
        report.kept.push(itemOf(record, why ?? "it is attached"));
        continue;
      }
      await this.#options.attachments.remove(record, signal).catch(() => {
        // The record says what failed, and is reported from there.
      });
      await this.#tell([record], why, report);
    }
  }

  /** Reports attachments by what is on record of them afterwards. */
  async #tell(records: readonly AttachmentRecord[], why: string, report: RecoveryReport): Promise<void> {
    for (const record of records) {
      const left = await this.#options.store.read(record);
      if (left === undefined) report.removed.push(itemOf(record, why));
      else report.failed.push(itemOf(left, String(left.error?.msg ?? "it could not be removed")));
    }
  }

  async #sweepHost(id: string, report: RecoveryReport): Promise<void> {
    const { netnsDir, netnsPrefix, stateDir, run, path } = this.#options;
    const netns = `${netnsDir}/${netnsPrefix}${id}`;
    const item = { containerId: id, netns, why: "no sandbox owns it" } as const;
    const swept = await sweepInfra(id, infraBundle(stateDir, id), { run, path });
    if (swept) report.removed.push({ ...item, kind: "container" });
    if (await removeNetns(netns, { run })) report.removed.push({ ...item, kind: "namespace" });
  }
}

function doomOf(
  record: AttachmentRecord,
  sandbox: SandboxRecord | undefined,
  boot: string,
): string | undefined {
  const why = whyUnfinished(record, boot);
  if (why !== undefined) return why;
  if (sandbox === undefined && sandboxOf(record) !== undefined) return "its sandbox is gone";
  return undefined;
}

function isInterrupted(sandbox: SandboxRecord | undefined, records: readonly AttachmentRecord[]): boolean {
  if (sandbox !== undefined && sandbox.phase !== "ready" && sandbox.phase !== "stopped") return true;
  return records.some(({ state }) => state === "adding" || state === "deleting");
}

function itemOf({ containerId, network, ifName, netns }: AttachmentRecord, why: string): RecoveryItem {
  return { kind: "attachment", containerId, network, ifName, netns, why };
}

function emptyReport(): RecoveryReport {
  return { removed: [], kept: [], failed: [] };
}
