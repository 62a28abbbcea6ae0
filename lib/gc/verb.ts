import { delay } from "../async/wait.ts";
import { gcChain, hasStatusAndGc } from "../attachment/status_gc_chain.ts";
import { negotiate } from "../attachment/version_negotiation.ts";
import type { NetworkConfigList, PluginConfig, ValidAttachment } from "../cni/config.ts";
import { CniError, isCniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { type Lock, LONGEST_WAIT_MS } from "../host/lock.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import type { AttachmentIndex, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { Locks } from "../state/locks.ts";
import type { CacheListing, ResultCache } from "../state/result_cache.ts";
import type { HungPlugins } from "./hung.ts";
import { listIfReadable, type Sweep } from "./report.ts";
import { type AttachmentName, attachmentsNamed, validAttachmentsOf } from "./verdict.ts";

/** The dependencies of {@linkcode notifyPlugins}. */
export interface NotifyContext {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly locks: Locks;
  /** The plugins that did not answer to GC in time. */
  readonly hung: HungPlugins;
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
  /** The timeout of each plugin, in milliseconds. */
  readonly timeoutMs: number;
  /** The longest wait for exclusive locks over all networks, in milliseconds. */
  readonly waitMs: number;
}

/**
 * Sends GC with the attachments in use to the plugins of every network, while nothing is attached to that network or
 * detached from it. The attachments in use are read under the network's exclusive lock. Between two lists of one network
 * the lock is released for long enough that waiting processes get it.
 *
 * Source: CNI specification 1.1.0, section 3 "Lifecycle & Ordering".
 */
export async function notifyPlugins(sweep: Sweep, context: NotifyContext): Promise<void> {
  const { signal, request: { network, dryRun = false } } = sweep;
  const notifier = new PluginNotifier(sweep, context);
  if (!await notifier.reportForeign() || dryRun) return;
  const names = new Set([...sweep.current.keys(), ...sweep.records.map((record) => record.network)]);
  for (const name of names) {
    if (network !== undefined && name !== network) continue;
    for (const [index, list] of (await notifier.listsOf(name)).entries()) {
      signal?.throwIfAborted();
      if (index > 0) await notifier.yieldLock();
      if (!await notifier.notify(list, names)) break;
    }
  }
  // A sweep that is cancelled is not a failure of the plugins. What it removed until then is off the records.
  signal?.throwIfAborted();
}

/** Additional time for a busy machine. */
const YIELD_MARGIN_MS = 20;

class PluginNotifier {
  readonly #sweep: Sweep;
  readonly #context: NotifyContext;
  #cached: CacheListing | undefined;
  #index: { readonly mark: string; readonly index: AttachmentIndex } | undefined;
  #patienceMs: number;
  /** How long the lock stays free between two lists, so that waiting processes get it. */
  #yieldMs = 0;

  constructor(sweep: Sweep, context: NotifyContext) {
    this.#sweep = sweep;
    this.#context = context;
    this.#patienceMs = sweep.request.waitMs ?? context.waitMs;
  }

  /** Reports the attachments of other runtimes. Returns false if the cache cannot be read. */
  async reportForeign(): Promise<boolean> {
    const listing = await this.#listing();
    if (listing === undefined) return false;
    const { request: { network: only }, report } = this.#sweep;
    const entries = listing.entries.filter(({ network }) => only === undefined || network === only);
    for (const entry of await this.#foreign(entries)) {
      const { network, containerId, ifName, netns } = entry;
      const why = "another runtime attached it";
      report.kept.push({ kind: "attachment", network, containerId, ifName, netns, why });
    }
    for (const { name, path, reason } of listing.unknown) {
      if (only !== undefined && attachmentsNamed(name, only).length === 0) continue;
      const why = `it cannot be read, so all that its name may stand for counts as in use: ${reason}`;
      report.kept.push({ kind: "cache", file: path, why });
    }
    return true;
  }

  /** Returns the entries that have no record now and had none when the sweep began. */
  async #foreign(entries: CacheListing["entries"]): Promise<CacheListing["entries"]> {
    // Entries whose records are lost are already in the report.
    const own = new Set([...this.#sweep.records.map(keyOf), ...this.#reportedKeys()]);
    const unrecorded = entries.filter((entry) => !own.has(keyOf(entry)));
    const index = unrecorded.length === 0 ? undefined : await this.#context.store.index();
    for (const network of new Set(unrecorded.map((entry) => entry.network))) {
      for (const key of index?.ofNetwork(network) ?? []) own.add(keyOf(key));
    }
    const foreign: CacheListing["entries"][number][] = [];
    for (const entry of unrecorded) {
      // An entry is removed before its record.
      if (!own.has(keyOf(entry)) && await this.#context.cache.has(entry)) foreign.push(entry);
    }
    return foreign;
  }

  #reportedKeys(): readonly string[] {
    const { removed, kept, failed } = this.#sweep.report;
    return [...removed, ...kept, ...failed].flatMap(({ kind, network, containerId, ifName }) =>
      kind === "attachment" && network !== undefined && containerId !== undefined && ifName !== undefined
        ? [keyOf({ network, containerId, ifName })]
        : []
    );
  }

  /** Returns the current configuration of the network, and the configurations of attachments that were made with another one. */
  async listsOf(network: string): Promise<readonly NetworkConfigList[]> {
    const { current, records, signal } = this.#sweep;
    const now = current.get(network);
    if (now?.disableGC) return [];
    const lists: NetworkConfigList[] = [];
    try {
      if (now !== undefined && hasStatusAndGc(now)) {
        lists.push(await negotiate(now, this.#context.probe, signal));
      }
    } catch (error) {
      this.#report(network, asCniError(error, { verb: "GC", network }));
    }
    lists.push(...recordedLists(records.filter((record) => record.network === network)));
    const unique = new Map(
      lists.map((list) => [`${list.cniVersion} ${printJson(list.json.plugins ?? null)}`, list]),
    );
    return [...unique.values()].filter((list) => hasStatusAndGc(list) && !list.disableGC);
  }

  /** Leaves the lock to operations that had to wait for the network during the GC of its plugins. */
  async yieldLock(): Promise<void> {
    await delay(this.#yieldMs, this.#sweep.signal);
  }

  /** Sends GC to the plugins of a list. Returns false if the network was never free for it. */
  async notify(list: NetworkConfigList, networks: Iterable<string>): Promise<boolean> {
    const due = this.#due(list);
    if (due.plugins.length === 0) return true;
    using lock = await this.#exclusive(list.name);
    if (lock === undefined) return false;
    const started = performance.now();
    const isNotified = await this.#notifyLocked(due, networks);
    // A waiting process tries again after the time that it has waited so far, at the latest after the longest wait.
    this.#yieldMs = Math.min(performance.now() - started, LONGEST_WAIT_MS) + YIELD_MARGIN_MS;
    return isNotified;
  }

  async #notifyLocked(list: NetworkConfigList, networks: Iterable<string>): Promise<boolean> {
    const { runner, timeoutMs, locks, hung } = this.#context;
    const { signal } = this.#sweep;
    const valid = await this.#inUse(list.name, networks);
    if (valid === undefined) return false;
    const onAnswer = ({ type }: PluginConfig, failure?: CniError) => hung.note(list.name, type, failure);
    const chain = () => gcChain(runner, list, valid, { timeoutMs, signal, onAnswer });
    for (const error of await locks.networks.collecting(list.name, chain)) this.#report(list.name, error);
    return true;
  }

  /** Returns the list without the plugins that are skipped because they hung, and reports these. */
  #due(list: NetworkConfigList): NetworkConfigList {
    const { request: { skipHung = false }, report } = this.#sweep;
    if (!skipHung) return list;
    const isDue = ({ type }: PluginConfig) => {
      const until = this.#context.hung.until(list.name, type);
      if (until === undefined) return true;
      const why = `it did not answer in time when it was asked last; it is asked again after ${until}`;
      report.kept.push({ kind: "plugin", network: list.name, plugin: type, why });
      return false;
    };
    return { ...list, plugins: list.plugins.filter(isDue) };
  }

  async #exclusive(network: string): Promise<Lock | undefined> {
    const { signal } = this.#sweep;
    const started = performance.now();
    using deadline = new Deadline(Math.max(0, this.#patienceMs), signal);
    try {
      return await this.#context.locks.networks.exclude(network, deadline.signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (!deadline.signal.aborted && !isCniError(asCniError(error), "timeout")) throw error;
      const seconds = (this.#sweep.request.waitMs ?? this.#context.waitMs) / 1_000;
      const msg =
        "its plugins were not asked to clean up: containers were attached to it or detached all the time";
      const hint = "try again when fewer operations are in progress";
      const details = `waited ${seconds}s for a moment without such operations`;
      this.#report(network, new CniError("timeout", msg, { verb: "GC", network, details, hint }));
      return undefined;
    } finally {
      this.#patienceMs -= performance.now() - started;
    }
  }

  /** Reads all attachments to the network now. The caller holds the exclusive lock. */
  async #inUse(
    network: string,
    networks: Iterable<string>,
  ): Promise<readonly ValidAttachment[] | undefined> {
    const { valid = [] } = this.#sweep.request;
    const listing = await this.#listing();
    if (listing === undefined) return undefined;
    const names: readonly AttachmentName[] = [
      ...(await this.#indexNow(network, networks)).ofNetwork(network),
      ...listing.entries.filter((entry) => entry.network === network),
      ...listing.unknown.flatMap(({ name }) => attachmentsNamed(name, network)),
      ...valid,
    ];
    return validAttachmentsOf(names);
  }

  /**
   * Returns the index of attachments. It is read again only if a container was attached to the network or detached since:
   * each network asks for it. The marks are set before the reading, so that a later attachment shows as missing.
   */
  async #indexNow(network: string, networks: Iterable<string>): Promise<AttachmentIndex> {
    const { locks, store } = this.#context;
    if (this.#index === undefined || !await locks.networks.isMarked(network, this.#index.mark)) {
      const mark = crypto.randomUUID();
      await locks.networks.mark(network, mark);
      for (const other of networks) if (other !== network) await locks.networks.tryMark(other, mark);
      this.#index = { mark, index: await store.index() };
    }
    return this.#index.index;
  }

  async #listing(): Promise<CacheListing | undefined> {
    try {
      return this.#cached = await this.#context.cache.list(this.#cached);
    } catch (cause) {
      const error = asCniError(cause);
      const why = `the cache of results cannot be read: ${error.msg}; ` +
        "the plugins were not asked to clean up, since they would release what other runtimes use";
      this.#sweep.report.failed.push({ kind: "cache", file: this.#context.cache.dir, why, error });
      return undefined;
    }
  }

  #report(network: string, error: CniError): void {
    const plugin = error.context.plugin?.type;
    const place = plugin === undefined ? { network } : { network, plugin };
    this.#sweep.report.failed.push({ kind: "plugin", ...place, why: error.message, error });
  }
}

/** Returns each configuration on record once, even if many attachments were made with it. */
function recordedLists(records: readonly AttachmentRecord[]): readonly NetworkConfigList[] {
  const different = new Map(records.map((record) => [`${record.cniVersion} ${record.config}`, record]));
  return [...different.values()].flatMap((record) => listIfReadable(record) ?? []);
}

function keyOf({ network, containerId, ifName }: AttachmentName & { readonly network: string }): string {
  return `${network} ${containerId} ${ifName}`;
}
