import { type Lock, LONGEST_WAIT_MS } from "../host/lock.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import type { NetworkConfigList, PluginConfig, ValidAttachment } from "../cni/config.ts";
import { CniError, isCniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import type { Locks } from "../state/locks.ts";
import type { HungPlugins } from "./hung.ts";
import { type AttachmentName, attachmentsNamed, validAttachmentsOf } from "./verdict.ts";
import { listIfReadable, type Sweep } from "./report.ts";
import type { AttachmentIndex, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { CacheListing, ResultCache } from "../state/result_cache.ts";
import { negotiate } from "../attachment/version_negotiation.ts";
import { gcChain, hasStatusAndGc } from "../attachment/status_gc_chain.ts";
import { delay } from "../async/wait.ts";

/** The parts that {@linkcode notifyPlugins} works with. */
export interface VerbParts {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly locks: Locks;
  /** Which plugins did not answer to GC in time. */
  readonly hung: HungPlugins;
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
  /** Milliseconds for each plugin. */
  readonly timeoutMs: number;
  /** Milliseconds to wait for the exclusive lock, over all networks. */
  readonly waitMs: number;
}

/**
 * Tells the plugins of every network which attachments are in use, while nothing is attached to that network or
 * detached: what is in use is read under the network's exclusive lock, which is let go of between two lists of one
 * network for long enough that those get it who wait.
 *
 * Source: CNI specification 1.1.0, section 3 "Lifecycle & Ordering".
 */
export async function notifyPlugins(sweep: Sweep, parts: VerbParts): Promise<void> {
  const { signal, request: { network, dryRun = false } } = sweep;
  const telling = new Telling(sweep, parts);
  if (!await telling.reportForeign() || dryRun) return;
  const names = new Set([...sweep.current.keys(), ...sweep.records.map((record) => record.network)]);
  for (const name of names) {
    if (network !== undefined && name !== network) continue;
    for (const [index, list] of (await telling.listsOf(name)).entries()) {
      signal?.throwIfAborted();
      if (index > 0) await telling.letIn();
      if (!await telling.tell(list, names)) break;
    }
  }
  // What was cut short is no failure of the plugins; what was removed until then is off the records.
  signal?.throwIfAborted();
}

/** For a machine that is busy. */
const LET_IN_MARGIN_MS = 20;

class Telling {
  readonly #sweep: Sweep;
  readonly #parts: VerbParts;
  #cached: CacheListing | undefined;
  #index: { readonly mark: string; readonly index: AttachmentIndex } | undefined;
  #patienceMs: number;
  /** How long the lock is left alone, so that those get in who wait for it. */
  #letInMs = 0;

  constructor(sweep: Sweep, parts: VerbParts) {
    this.#sweep = sweep;
    this.#parts = parts;
    this.#patienceMs = sweep.request.waitMs ?? parts.waitMs;
  }

  /** Tells of what other runtimes attached. False if the cache cannot be read. */
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

  /** Those of which there is no record, nor was one a moment ago. */
  async #foreign(entries: CacheListing["entries"]): Promise<CacheListing["entries"]> {
    // Those whose records are lost were told of before.
    const own = new Set([...this.#sweep.records.map(keyOf), ...this.#reported()]);
    const strange = entries.filter((entry) => !own.has(keyOf(entry)));
    const index = strange.length === 0 ? undefined : await this.#parts.store.index();
    for (const network of new Set(strange.map((entry) => entry.network))) {
      for (const key of index?.ofNetwork(network) ?? []) own.add(keyOf(key));
    }
    const foreign: CacheListing["entries"][number][] = [];
    for (const entry of strange) {
      // An entry goes before its record does.
      if (!own.has(keyOf(entry)) && await this.#parts.cache.has(entry)) foreign.push(entry);
    }
    return foreign;
  }

  #reported(): readonly string[] {
    const { removed, kept, failed } = this.#sweep.report;
    return [...removed, ...kept, ...failed].flatMap(({ kind, network, containerId, ifName }) =>
      kind === "attachment" && network !== undefined && containerId !== undefined && ifName !== undefined
        ? [keyOf({ network, containerId, ifName })]
        : []
    );
  }

  /** The network as it is configured now, and as it was for those of its attachments that were made differently. */
  async listsOf(network: string): Promise<readonly NetworkConfigList[]> {
    const { current, records, signal } = this.#sweep;
    const now = current.get(network);
    if (now?.disableGC) return [];
    const lists: NetworkConfigList[] = [];
    try {
      if (now !== undefined && hasStatusAndGc(now)) {
        lists.push(await negotiate(now, this.#parts.probe, signal));
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

  /** Lets those in who have waited for the network while its plugins were asked. */
  async letIn(): Promise<void> {
    await delay(this.#letInMs, this.#sweep.signal);
  }

  /** False if there was no moment for it. The index that is read for it serves the other networks too. */
  async tell(list: NetworkConfigList, networks: Iterable<string>): Promise<boolean> {
    const due = this.#due(list);
    if (due.plugins.length === 0) return true;
    using lock = await this.#exclusive(list.name);
    if (lock === undefined) return false;
    const started = performance.now();
    const isTold = await this.#tellLocked(due, networks);
    // Who waits looks again after as long as it has waited so far, but at the latest after the longest wait.
    this.#letInMs = Math.min(performance.now() - started, LONGEST_WAIT_MS) + LET_IN_MARGIN_MS;
    return isTold;
  }

  async #tellLocked(list: NetworkConfigList, networks: Iterable<string>): Promise<boolean> {
    const { runner, timeoutMs, locks, hung } = this.#parts;
    const { signal } = this.#sweep;
    const valid = await this.#inUse(list.name, networks);
    if (valid === undefined) return false;
    const onAnswer = ({ type }: PluginConfig, failure?: CniError) => hung.note(list.name, type, failure);
    const chain = () => gcChain(runner, list, valid, { timeoutMs, signal, onAnswer });
    for (const error of await locks.networks.collecting(list.name, chain)) this.#report(list.name, error);
    return true;
  }

  /** The list without the plugins that are not to be asked again yet, which the report then tells of. */
  #due(list: NetworkConfigList): NetworkConfigList {
    const { request: { sparesHung = false }, report } = this.#sweep;
    if (!sparesHung) return list;
    const isDue = ({ type }: PluginConfig) => {
      const until = this.#parts.hung.until(list.name, type);
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
      return await this.#parts.locks.networks.exclude(network, deadline.signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (!deadline.signal.aborted && !isCniError(asCniError(error), "timeout")) throw error;
      const seconds = (this.#sweep.request.waitMs ?? this.#parts.waitMs) / 1_000;
      const msg =
        `its plugins were not asked to clean up: containers were attached to it or detached all the time`;
      const hint = "try again when fewer operations are under way";
      const details = `waited ${seconds}s for a moment without`;
      this.#report(network, new CniError("timeout", msg, { verb: "GC", network, details, hint }));
      return undefined;
    } finally {
      this.#patienceMs -= performance.now() - started;
    }
  }

  /** All attachments to the network, read now. The caller holds the exclusive lock. */
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
   * Read again only if something was attached to the network or detached since: each network asks for it. The marks come
   * before the reading, so that what is attached after them is known to be missing.
   */
  async #indexNow(network: string, networks: Iterable<string>): Promise<AttachmentIndex> {
    const { locks, store } = this.#parts;
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
      return this.#cached = await this.#parts.cache.list(this.#cached);
    } catch (cause) {
      const error = asCniError(cause);
      const why = `the cache of results cannot be read: ${error.msg}; ` +
        "the plugins were not asked to clean up, since they would release what other runtimes use";
      this.#sweep.report.failed.push({ kind: "cache", file: this.#parts.cache.dir, why, error });
      return undefined;
    }
  }

  #report(network: string, error: CniError): void {
    const plugin = error.context.plugin?.type;
    const place = plugin === undefined ? { network } : { network, plugin };
    this.#sweep.report.failed.push({ kind: "plugin", ...place, why: error.message, error });
  }
}

/** Each configuration once, however many attachments were made with it. */
function recordedLists(records: readonly AttachmentRecord[]): readonly NetworkConfigList[] {
  const different = new Map(records.map((record) => [`${record.cniVersion} ${record.config}`, record]));
  return [...different.values()].flatMap((record) => listIfReadable(record) ?? []);
}

function keyOf({ network, containerId, ifName }: AttachmentName & { readonly network: string }): string {
  return `${network} ${containerId} ${ifName}`;
}
