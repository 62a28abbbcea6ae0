import type { CallOptions } from "../async/call_options.ts";
import { DEFAULT_TIMEOUTS } from "../plugin/deadline.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { podsThere, validateSelection } from "./verdict.ts";
import { settleDamaged } from "./damaged.ts";
import type { DamagedRecords } from "./damaged_attachments.ts";
import { removeStale, type StaleParts } from "./stale.ts";
import { HungPlugins } from "./hung.ts";
import { type GcReport, type GcRequest, type HostSweep, noFindings, type Sweep } from "./report.ts";
import { notifyPlugins, type VerbParts } from "./verb.ts";

/** How much longer than an ADD may take a sweep waits for the moment in which it may tell the plugins. */
export const WAIT_BEYOND_ADD_MS = 30_000;

/** The parts that {@linkcode GarbageCollector} works with. */
export interface GarbageCollectorOptions
  extends StaleParts, Omit<VerbParts, "timeoutMs" | "waitMs" | "hung"> {
  /** Attachments whose records cannot be used, or are lost. */
  readonly damaged: DamagedRecords;
  /** Knows the namespaces and containers that no sandbox owns. @default none are looked for */
  readonly host?: HostSweep | undefined;
  /** Milliseconds for each plugin. @default {DEFAULT_TIMEOUTS.GC} */
  readonly timeoutMs?: number | undefined;
  /** See {@linkcode GcRequest}. @default {the time of an ADD, and half a minute} */
  readonly waitMs?: number | undefined;
}

/**
 * Removes the attachments that nobody owns any more, with the configuration and arguments of their ADD, then the
 * namespaces that no sandbox owns, then tells the plugins of every network which attachments remain, so that they
 * release what belongs to none. May be called again at any time, and by several at once.
 *
 * Only podwire's own attachments are removed. Those that other runtimes left in libcni's cache count as in use. Only
 * while the plugins of a network are told is nothing attached to that network or detached, as the specification demands.
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
   * Sweeps over the networks of the directory and over those that only records tell of.
   *
   * @throws {CniError} kind `usage`, or if the records cannot be read; what failed else is reported, not thrown. The
   * reason of the signal, if that fired
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
    // All that there is, before anybody is asked what is in use: what is made since then is not to be judged.
    const sweepHost = isWhole ? await this.#options.host?.snapshot(request.pods?.owner) : undefined;
    const sweep = await this.#begin(networks, request, signal);
    await removeStale(sweep, this.#options);
    await settleDamaged(sweep, this.#options);
    if (sweepHost !== undefined) await this.#sweepHost(sweep, sweepHost);
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
    const records = (await store.all()).filter((record) => isWanted(record.network)).reverse();
    return {
      request,
      signal,
      facts: {
        boot,
        ...(valid && { valid }),
        ...(all && { all }),
        ...(pods && { pods: await podsThere(pods) }),
      },
      report: noFindings(),
      current: new Map(networks.filter(({ name }) => isWanted(name)).map((list) => [list.name, list])),
      records,
    };
  }

  async #sweepHost(
    { request: { dryRun = false }, signal, facts: { pods }, report }: Sweep,
    sweepHost: Awaited<ReturnType<HostSweep["snapshot"]>>,
  ): Promise<void> {
    const found = await sweepHost({ dryRun, ...(pods && { pods }), signal });
    report.removed.push(...found.removed);
    report.kept.push(...found.kept);
    report.failed.push(...found.failed);
  }
}
