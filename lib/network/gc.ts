import type { RunCommand } from "../host/command.ts";
import { endOrphans } from "../host/orphans.ts";
import { DEFAULT_TIMEOUTS } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import { asCniError } from "../plugin/failure.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import type { NetworkConfigList } from "../spec/config.ts";
import type { CniError } from "../spec/error.ts";
import { printJson } from "../spec/json.ts";
import { type ContainerLocks, withContainerLock } from "./container_lock.ts";
import {
  type AttachmentName,
  attachmentsNamed,
  type GcWish,
  judge,
  sandboxOf,
  validateWish,
  validAttachmentsOf,
} from "./gc_plan.ts";
import type { Attachments } from "./network.ts";
import type { AttachmentRecord, AttachmentStore } from "./record.ts";
import { listOnRecord } from "./recorded.ts";
import type { CacheListing, ResultCache } from "./result_cache.ts";
import { inCommonVersion } from "./spoken_version.ts";
import { gcChain, hasUpkeep } from "./upkeep.ts";

/** What a sweep is to do. */
export interface GcRequest extends GcWish {
  /** Only this network, by its name. @default all networks */
  readonly network?: string;
  /** Runs no plugin and changes nothing. @default {false} */
  readonly dryRun?: boolean;
  /** Cuts the sweep short. */
  readonly signal?: AbortSignal;
}

/** One thing that a sweep looked at. */
export interface GcItem {
  /** What it is: an attachment, a plugin that was asked to clean up, or a place in libcni's cache. */
  readonly kind: "attachment" | "plugin" | "cache";
  /** Its network. */
  readonly network?: string;
  /** Of an attachment. */
  readonly containerId?: string;
  /** Of an attachment. */
  readonly ifName?: string;
  /** Of an attachment: the path of the namespace. */
  readonly netns?: string;
  /** The type of a plugin. */
  readonly plugin?: string;
  /** A file or folder of the cache. */
  readonly file?: string;
  /** Why it was removed or kept, or why it could not be. */
  readonly why: string;
  /** It was kept only because the request does not say whether it is in use. */
  readonly undecided?: true;
  /** What failed, whole. */
  readonly error?: CniError;
}

/** What a sweep did, or would do; `gc --json` prints it. */
export interface GcReport {
  /** What is gone now. */
  readonly removed: readonly GcItem[];
  /** What is in use, or not podwire's to remove. */
  readonly kept: readonly GcItem[];
  /** What could not be removed, and stays on record; plugins that did not clean up. */
  readonly failed: readonly GcItem[];
}

/** The parts that {@linkcode GarbageCollector} works with. */
export interface GarbageCollectorOptions {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly locks: ContainerLocks;
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
  readonly run: RunCommand;
  /** The IDs of the sandboxes on record, also of those whose record cannot be read. */
  readonly sandboxIds: () => Promise<readonly string[]>;
  /** Milliseconds for each plugin. @default {DEFAULT_TIMEOUTS.GC} */
  readonly timeoutMs?: number;
}

/** What one sweep works on. */
interface Sweep {
  readonly request: GcRequest;
  readonly report: Record<keyof GcReport, GcItem[]>;
  /** By name, as they are configured now. */
  readonly current: ReadonlyMap<string, NetworkConfigList>;
  /** As they were before the sweep, the last attachment first. */
  readonly records: readonly AttachmentRecord[];
  /** By record. */
  readonly lists: ReadonlyMap<AttachmentRecord, NetworkConfigList>;
}

/**
 * Removes the attachments that nobody owns any more, with the configuration and arguments of their ADD, then tells the
 * plugins of every network which attachments remain, so that they release what belongs to none.
 *
 * Only podwire's own attachments are removed. Those that other runtimes left in libcni's cache count as in use. While
 * it lasts nothing else is attached or detached, as the specification demands.
 *
 * Source: CNI specification 1.1.0, section 3 "Garbage-collecting a network".
 */
export class GarbageCollector {
  readonly #options: GarbageCollectorOptions;

  constructor(options: GarbageCollectorOptions) {
    this.#options = options;
  }

  /**
   * Sweeps over the networks of the directory and over those that only records tell of.
   *
   * @throws {CniError} kind `usage`, or if the records cannot be read; what failed else is reported, not thrown. The
   * reason of the signal, if that fired
   */
  async collect(networks: readonly NetworkConfigList[], request: GcRequest = {}): Promise<GcReport> {
    validateWish(request);
    const { locks, store } = this.#options;
    const { network, signal } = request;
    using _sweep = await locks.sweep({ shared: false, ...(signal && { signal }) });
    const isWanted = (name: string) => network === undefined || name === network;
    const records = (await store.all()).filter((record) => isWanted(record.network)).reverse();
    const sweep: Sweep = {
      request,
      report: { removed: [], kept: [], failed: [] },
      current: new Map(networks.filter(({ name }) => isWanted(name)).map((list) => [list.name, list])),
      records,
      lists: new Map(records.flatMap((record) => listsOf(record).map((list) => [record, list] as const))),
    };
    const left = await this.#removeStale(sweep);
    const listing = await this.#cached(sweep);
    if (listing === undefined) return sweep.report;
    const foreign = this.#foreign(sweep, listing);
    if (!request.dryRun) await this.#tellPlugins(sweep, [...left, ...foreign], listing);
    // What was cut short is no failure of the plugins; what was removed until then is off the records.
    signal?.throwIfAborted();
    return sweep.report;
  }

  /** Gives the attachments that are still on record. */
  async #removeStale(sweep: Sweep): Promise<readonly AttachmentRecord[]> {
    const { report, records, request } = sweep;
    const boot = await this.#options.attachments.boot();
    const sandboxes = await this.#options.sandboxIds();
    const left: AttachmentRecord[] = [];
    for (const record of records) {
      request.signal?.throwIfAborted();
      const id = sandboxOf(record);
      const hasSandbox = id !== undefined && sandboxes.includes(id);
      const list = sweep.current.get(record.network) ?? sweep.lists.get(record);
      const disableGC = list?.disableGC ?? false;
      const { stale, ...told } = judge(record, { ...request, boot, hasSandbox, disableGC });
      const error = stale && !request.dryRun ? await this.#remove(record, request.signal) : undefined;
      if (!stale || error !== undefined) left.push(record);
      if (error !== undefined) report.failed.push({ ...itemOf(record), why: error.message, error });
      else report[stale ? "removed" : "kept"].push({ ...itemOf(record), ...told });
    }
    return left;
  }

  async #remove(record: AttachmentRecord, signal: AbortSignal | undefined): Promise<CniError | undefined> {
    const { locks, attachments, run } = this.#options;
    const { containerId, state } = record;
    try {
      await withContainerLock(locks, containerId, signal, async () => {
        // What the plugins of a killed runtime still do must not happen after the DEL.
        if (state === "adding" || state === "deleting") {
          await endOrphans(`CNI_CONTAINERID=${containerId}`, run);
        }
        await attachments.remove(record, signal);
      });
      return undefined;
    } catch (error) {
      return asCniError(error);
    }
  }

  /** Read after the removals, so that what other runtimes attach meanwhile is seen as late as possible. */
  async #cached({ report }: Sweep): Promise<CacheListing | undefined> {
    try {
      return await this.#options.cache.list();
    } catch (cause) {
      const error = asCniError(cause);
      const why = `the cache of results cannot be read: ${error.msg}; ` +
        "the plugins were not asked to clean up, since they would release what other runtimes use";
      report.failed.push({ kind: "cache", file: this.#options.cache.dir, why, error });
      return undefined;
    }
  }

  /** What other runtimes attached: what the cache tells of and no record does. */
  #foreign({ report, request, records }: Sweep, listing: CacheListing): readonly Foreign[] {
    const own = new Set(records.map(keyOf));
    const isWanted = ({ network }: Foreign) => request.network === undefined || network === request.network;
    const foreign = listing.entries.filter((entry) => isWanted(entry) && !own.has(keyOf(entry)));
    for (const { network, containerId, ifName, netns } of foreign) {
      const why = "another runtime attached it";
      report.kept.push({ kind: "attachment", network, containerId, ifName, netns, why });
    }
    for (const { name, path, reason } of listing.unknown) {
      if (request.network !== undefined && attachmentsNamed(name, request.network).length === 0) continue;
      const why = `it cannot be read, so all that its name may stand for counts as in use: ${reason}`;
      report.kept.push({ kind: "cache", file: path, why });
    }
    return foreign;
  }

  async #tellPlugins(
    sweep: Sweep,
    inUse: readonly (AttachmentName & { readonly network: string })[],
    { unknown }: CacheListing,
  ): Promise<void> {
    const { runner, timeoutMs = DEFAULT_TIMEOUTS.GC } = this.#options;
    const { signal, valid = [] } = sweep.request;
    const names = new Set([...sweep.current.keys(), ...sweep.records.map(({ network }) => network)]);
    for (const network of names) {
      const attachments = validAttachmentsOf([
        ...inUse.filter((attachment) => attachment.network === network),
        ...unknown.flatMap(({ name }) => attachmentsNamed(name, network)),
        ...valid,
      ]);
      for (const list of await this.#listsToTell(sweep, network)) {
        signal?.throwIfAborted();
        for (const error of await gcChain(runner, list, attachments, { timeoutMs, signal })) {
          this.#reportPlugin(sweep, network, error);
        }
      }
    }
  }

  /** The network as it is configured now, and as it was for those of its attachments that were made differently. */
  async #listsToTell(sweep: Sweep, network: string): Promise<readonly NetworkConfigList[]> {
    const now = sweep.current.get(network);
    if (now?.disableGC) return [];
    const lists: NetworkConfigList[] = [];
    try {
      const { probe } = this.#options;
      if (now !== undefined && hasUpkeep(now)) {
        lists.push(await inCommonVersion(now, probe, sweep.request.signal));
      }
    } catch (error) {
      this.#reportPlugin(sweep, network, asCniError(error, { verb: "GC", network }));
    }
    for (const [record, list] of sweep.lists) if (record.network === network) lists.push(list);
    const unique = new Map(
      lists.map((list) => [`${list.cniVersion} ${printJson(list.json.plugins ?? null)}`, list]),
    );
    return [...unique.values()].filter((list) => hasUpkeep(list) && !list.disableGC);
  }

  #reportPlugin({ report }: Sweep, network: string, error: CniError): void {
    const plugin = error.context.plugin?.type;
    report.failed.push({
      kind: "plugin",
      network,
      ...(plugin === undefined ? {} : { plugin }),
      why: error.message,
      error,
    });
  }
}

type Foreign = CacheListing["entries"][number];

/** One that cannot be read is told of by the removal that fails on it. */
function listsOf(record: AttachmentRecord): readonly NetworkConfigList[] {
  try {
    return [listOnRecord(record)];
  } catch {
    return [];
  }
}

function keyOf({ network, containerId, ifName }: AttachmentName & { readonly network: string }): string {
  return `${network} ${containerId} ${ifName}`;
}

function itemOf({ containerId, network, ifName, netns }: AttachmentRecord): Omit<GcItem, "why"> {
  return { kind: "attachment", containerId, network, ifName, netns };
}
