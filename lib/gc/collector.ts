import type { CallOptions } from "../async/call_options.ts";
import { once } from "../async/once.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { DEFAULT_TIMEOUTS } from "../plugin/deadline.ts";
import { type FindStoredAddresses, unownedAddresses } from "../attachment/unowned_addresses.ts";
import { removeDamaged } from "./damaged.ts";
import type { DamagedRecords } from "./damaged_attachments.ts";
import { HungPlugins } from "./hung.ts";
import {
  addToReport,
  emptyReport,
  type GcReport,
  type GcRequest,
  type HostSweep,
  type Sweep,
} from "./report.ts";
import { removeStale, type StaleContext } from "./stale.ts";
import { type NotifyContext, notifyPlugins } from "./verb.ts";
import { resolvePods, validateSelection } from "./verdict.ts";

/** How long a sweep waits, in addition to the timeout of an ADD, for the moment in which it may notify the plugins. */
export const WAIT_BEYOND_ADD_MS = 30_000;

/** The dependencies of {@linkcode GarbageCollector}. */
export interface GarbageCollectorOptions
  extends StaleContext, Omit<NotifyContext, "timeoutMs" | "waitMs" | "hung"> {
  /** Attachments whose records are damaged or lost. */
  readonly damaged: DamagedRecords;
  /** Finds the namespaces and containers that no sandbox owns. @default {no sweep of the host} */
  readonly host?: HostSweep | undefined;
  /** Finds the addresses that a dry run reports if they are of containers without a record. @default {finds none} */
  readonly storedAddresses?: FindStoredAddresses | undefined;
  /** Milliseconds for each plugin. @default {DEFAULT_TIMEOUTS.GC} */
  readonly timeoutMs?: number | undefined;
  /** See {@linkcode GcRequest}. @default {the timeout of an ADD, and half a minute} */
  readonly waitMs?: number | undefined;
}

/**
 * Removes the attachments that have lost their owner, with the configuration and arguments of their ADD. Then it removes
 * the namespaces that no sandbox owns. At the end it sends the remaining attachments to the plugins of every network, so
 * that they release what belongs to none of them. It may run again at any time, and in several processes at once.
 *
 * Only podwire's own attachments are removed. Attachments of other runtimes in libcni's cache count as in use. While the
 * plugins of a network are notified, and only then, nothing is attached to that network or detached from it: the
 * specification demands this.
 *
 * Source: CNI specification 1.1.0, section 3 "Garbage-collecting a network".
 */
export class GarbageCollector {
  readonly #options: GarbageCollectorOptions;
  readonly #hung = new HungPlugins();

  constructor(options: GarbageCollectorOptions) {
    this.#options = options;
  }

  /**
   * Sweeps the networks of the configuration directory, and networks that only exist in records.
   *
   * @throws {CniError} kind `usage`, or if the records cannot be read; other failures are reported, not thrown. The reason
   * of the signal if it fires
   */
  async collect(
    networks: readonly NetworkConfigList[],
    request: GcRequest = {},
    { signal }: CallOptions = {},
  ): Promise<GcReport> {
    validateSelection(request);
    signal?.throwIfAborted();
    const { timeoutMs = DEFAULT_TIMEOUTS.GC, waitMs = DEFAULT_TIMEOUTS.ADD + WAIT_BEYOND_ADD_MS } =
      this.#options;
    const isWhole = request.network === undefined;
    // First notes what exists, then asks what is in use: the sweep leaves alone what is made after that.
    const sweepHost = isWhole ? await this.#options.host?.snapshot(request.pods?.owner) : undefined;
    const sweep = await this.#begin(networks, request, signal);
    await removeStale(sweep, this.#options);
    await removeDamaged(sweep, this.#options);
    if (sweepHost !== undefined) await this.#sweepHost(sweep, sweepHost);
    if (request.dryRun) await this.#reportUnowned(sweep);
    await notifyPlugins(sweep, { ...this.#options, hung: this.#hung, timeoutMs, waitMs });
    return sweep.report;
  }

  async #begin(
    networks: readonly NetworkConfigList[],
    request: GcRequest,
    signal: AbortSignal | undefined,
  ): Promise<Sweep> {
    const { store, attachments } = this.#options;
    const { network, valid, all, pods } = request;
    const isWanted = (name: string) => network === undefined || name === network;
    const boot = await attachments.boot();
    const { records, damaged } = await store.scanAll();
    return {
      request,
      signal,
      facts: { boot, valid, all, pods: pods && await resolvePods(pods) },
      report: emptyReport(),
      current: new Map(networks.filter(({ name }) => isWanted(name)).map((list) => [list.name, list])),
      records: records.filter((record) => isWanted(record.network)).reverse(),
      damaged,
    };
  }

  /** They are not podwire's to remove: what a plugin does with them at its GC is its own matter. */
  async #reportUnowned({ current, report, signal }: Sweep): Promise<void> {
    const { store, storedAddresses } = this.#options;
    // All networks are compared with the same records.
    const context = { storedAddresses, store: { scanAll: once(() => store.scanAll()) } };
    for (const list of current.values()) {
      signal?.throwIfAborted();
      for (const why of await unownedAddresses(list, context)) {
        report.kept.push({ kind: "addresses", network: list.name, why });
      }
    }
  }

  async #sweepHost(
    { request: { dryRun = false }, signal, facts: { pods }, report }: Sweep,
    sweepHost: Awaited<ReturnType<HostSweep["snapshot"]>>,
  ): Promise<void> {
    addToReport(report, await sweepHost({ dryRun, pods, signal }));
  }
}
