import type { CallOptions } from "../async/call_options.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateNewCniArg } from "../cni/name.ts";
import { asCniError, withCniErrors } from "../errors/to_cni_error.ts";
import type { Lock } from "../host/lock.ts";
import { Deadline, DEFAULT_TIMEOUTS, type Timeouts } from "../plugin/deadline.ts";
import type { Verb } from "../plugin/invocation.ts";
import { VersionProbe } from "../plugin/versions.ts";
import type { AttachmentKey, AttachmentRecord, Intention } from "../state/attachment_store.ts";
import type { RequireFreeOptions } from "../state/host_ports.ts";
import type { Locks } from "../state/locks.ts";
import { published } from "../state/published_ports.ts";
import { parseRecorded, withCachedArgs } from "../state/recorded_config.ts";
import { withHolders } from "./address_holder.ts";
import { alreadyAttached, requireNotAttached } from "./already_attached.ts";
import { beginAttachment, draftAttachment } from "./begin.ts";
import { addChain } from "./chain.ts";
import { checkAttachment } from "./check.ts";
import { firstSkippedPluginOf, refusalIn } from "./failed_add.ts";
import { requirePluginsForAdd } from "./plugins_for_add.ts";
import { Removal, type RemovalOptions } from "./removal.ts";
import type { FindStoredAddresses } from "./unowned_addresses.ts";
import {
  type AddOptions,
  type AddRequest,
  type AttachRequest,
  type DelOptions,
  keyOf,
  validateAttachment,
  type WantedAttachment,
  withAttachDefaults,
} from "./request.ts";
import { negotiate } from "./version_negotiation.ts";

export type { AddOptions, AddRequest, AttachRequest, DelOptions, WantedAttachment } from "./request.ts";

/** Dependencies of {@linkcode Attachments}. */
export interface AttachmentsOptions extends RemovalOptions {
  /** @default {DEFAULT_TIMEOUTS} */
  readonly timeouts?: Timeouts | undefined;
  /** The gc locks of networks: they keep the GC verb away while something is attached or detached. */
  readonly locks: { readonly networks: Pick<Locks["networks"], "share"> };
  /** Finds addresses that are in use. @default {finds none} */
  readonly storedAddresses?: FindStoredAddresses | undefined;
  /** Remembers what plugins answered to VERSION. @default {a new one} */
  readonly probe?: VersionProbe | undefined;
}

/**
 * ADD, CHECK and DEL of one network over its configuration list. The record is on disk before the first plugin runs and
 * until DEL has succeeded.
 *
 * The caller holds the container's lock.
 *
 * Source: CNI specification 1.1.0, section 3.
 */
export class Attachments {
  readonly #options: AttachmentsOptions;
  readonly #timeouts: Timeouts;
  readonly #probe: VersionProbe;
  /** Detaches. */
  readonly removal: Removal;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
    this.#timeouts = options.timeouts ?? DEFAULT_TIMEOUTS;
    this.removal = new Removal(options);
    this.#probe = options.probe ?? new VersionProbe(options.runner, this.#timeouts.VERSION);
  }

  /**
   * Attaches the container and returns the result in the version of the list. After a failure nothing is attached, or a
   * record in the state `failed` stands for what is left.
   *
   * @throws {CniError} with what failed first
   */
  async add(
    offered: NetworkConfigList,
    wanted: AddRequest,
    options: AddOptions = {},
  ): Promise<JsonObject> {
    const request = withAttachDefaults(wanted);
    const { signal } = options;
    const key = keyOf(offered, request);
    validateAttachment(key, request);
    for (const [name, value] of request.args) validateNewCniArg(name, value);
    const list = await this.requirePlugins(offered, signal);
    await this.#clearEarlier(list, key, signal);
    using _shared = await this.#share(list.name, "ADD", signal);
    const context = { ...this.#options, boot: () => this.boot() };
    let record = await withCniErrors(
      () => beginAttachment(list, request, options, context),
      { verb: "ADD", network: list.name },
    );
    try {
      using deadline = new Deadline(this.#timeouts.ADD, signal);
      // An undo passes the plugins the last result before the failure.
      const target = { ...request, capabilityArgs: record.capabilityArgs };
      const result = await addChain(this.#options.runner, list, target, deadline.signal, (result) => {
        record = { ...record, result };
      });
      record = { ...record, result };
      await this.#options.cache.write(record);
      await this.#options.store.write({ ...record, state: "attached", since: new Date().toISOString() });
      return result;
    } catch (error) {
      const failure = asCniError(error, { verb: "ADD", network: list.name });
      const explained = await withHolders(failure, record, this.#options.store);
      const { withUnowned } = await import("./unowned_addresses.ts");
      throw await this.#undo(list, record, await withUnowned(explained, list, this.#options));
    }
  }

  /**
   * Checks several attachments of a container before any of them is made: names, arguments, and ports of the host that are
   * taken or requested twice.
   *
   * @throws {CniError} kind `usage`, or `conflict` for the ports
   */
  async requirePossible(
    containerId: string,
    wanted: readonly WantedAttachment[],
    options: RequireFreeOptions = {},
  ): Promise<void> {
    const ports = wanted.map(({ list, ifName, args, capabilityArgs }) => {
      const key = { containerId, network: list.name, ifName };
      validateAttachment(key, { args });
      return { key, capabilityArgs: published(list, capabilityArgs) };
    });
    await this.#options.ports.requireFree(ports, options);
  }

  /**
   * Checks that the interfaces of several attachments are free in a namespace, before any of them is made.
   *
   * @throws {CniError} kind `conflict`, naming the owner or the kind of link
   */
  async requireFreeInterfaces(
    { containerId, netns }: Pick<AttachRequest, "containerId" | "netns">,
    wanted: readonly WantedAttachment[],
    options: CallOptions = {},
  ): Promise<void> {
    const { interfaces } = this.#options;
    for (const { list, ifName } of wanted) {
      await interfaces.requireFree(list, { containerId, netns, ifName }, options);
    }
  }

  /**
   * Returns what to write with the record of a sandbox that will get these attachments: with it, a loss of power during their
   * ADDs leaves nothing that cannot be detached.
   */
  async intend(
    pod: Pick<AttachRequest, "containerId" | "netns" | "owner">,
    wanted: readonly WantedAttachment[],
    { signal }: CallOptions = {},
  ): Promise<Intention> {
    const bootId = await this.boot();
    const records: AttachmentRecord[] = [];
    for (const [index, { list: offered, ...rest }] of wanted.entries()) {
      const list = await negotiate(offered, this.#probe, signal);
      const request = withAttachDefaults({ ...pod, ...rest });
      records.push(draftAttachment(list, request, { bootId, sequence: index + 1 }));
    }
    return await this.#options.store.intend(records);
  }

  /** Refuses a list with a plugin that may not run. Returns the list in the version in which its plugins are called. */
  async requirePlugins(list: NetworkConfigList, signal?: AbortSignal): Promise<NetworkConfigList> {
    await requirePluginsForAdd(list, this.#options.runner);
    return await withCniErrors(() => negotiate(list, this.#probe, signal), {
      verb: "ADD",
      network: list.name,
    });
  }

  /**
   * Checks an attachment; see {@linkcode checkAttachment}.
   *
   * @throws {CniError} as that does
   */
  async check(offered: NetworkConfigList, wanted: AttachRequest, options: CallOptions = {}): Promise<void> {
    const request = withAttachDefaults(wanted);
    validateAttachment(keyOf(offered, request), request);
    const { runner, store, cache, interfaces } = this.#options;
    const parts = { runner, store, cache, interfaces, removal: this.removal, probe: this.#probe };
    await checkAttachment(offered, request, { ...parts, timeoutMs: this.#timeouts.CHECK }, options);
  }

  /**
   * Detaches the container, with the configuration and arguments of its ADD if these are on record. Without an attachment
   * the plugins are asked nevertheless, and the DEL succeeds if they succeed.
   *
   * @throws {CniError} with the first failure in the chain; the record then stays, as `failed`
   */
  async del(list: NetworkConfigList, wanted: AttachRequest, options: DelOptions = {}): Promise<void> {
    const request = withAttachDefaults(wanted);
    const { signal, forceForeign } = options;
    const key = keyOf(list, request);
    validateAttachment(key, request);
    const record = await this.#options.store.read(key);
    if (record !== undefined) return await this.remove(record, signal);
    const entry = await this.removal.cachedEntry(key);
    const recorded = parseRecorded(entry?.config) ??
      await withCniErrors(() => negotiate(list, this.#probe, signal), {
        verb: "DEL",
        network: list.name,
      });
    const netns = await withCniErrors(
      () => this.#options.interfaces.netnsForDel(recorded, request, entry, options),
      { verb: "DEL", network: list.name },
    );
    const target = { ...withCachedArgs(request, entry), netns };
    using _shared = await this.#share(list.name, "DEL", signal);
    using deadline = new Deadline(this.#timeouts.DEL, signal);
    await this.removal.delete(recorded, target, entry?.result, { forceForeign, signal: deadline.signal });
    await this.#options.cache.remove(key);
    await this.#options.store.remove(key);
  }

  /**
   * Detaches what a record stands for, and removes the record.
   *
   * @throws {CniError} with the first failure in the chain; the record then stays, as `failed`
   */
  async remove(record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    const { progress } = this.removal;
    using _shared = await this.#share(record.network, "DEL", signal).catch(async (error) => {
      if (!signal?.aborted) await progress.postpone(record, asCniError(error));
      throw error;
    });
    await progress.begin(record);
    const failure = await this.removal.attempt(record, this.#timeouts.DEL, signal);
    if (failure !== undefined) throw failure;
  }

  /** Keeps the GC verb away from the network. */
  async #share(network: string, verb: Verb, signal: AbortSignal | undefined): Promise<Lock> {
    return await withCniErrors(() => this.#options.locks.networks.share(network, signal), { verb, network });
  }

  /**
   * Runs DEL of the whole list after a failed ADD. It has a timeout of its own, because the caller's may be over, but no
   * more time than the ADD had: a caller that limited the ADD does not want to wait longer for the undo.
   */
  async #undo(list: NetworkConfigList, record: AttachmentRecord, cause: CniError): Promise<CniError> {
    const { ADD, DEL } = this.#timeouts;
    const failure = await this.removal.attempt(
      { ...record, ...firstSkippedPluginOf(cause), ...refusalIn(cause) },
      Math.min(ADD, DEL),
    );
    if (failure === undefined) return cause;
    this.#options.log.warn(`clean-up after the failed ADD to "${list.name}" failed too`, {
      network: list.name,
      containerId: record.containerId,
      error: failure.message,
    });
    return cause.within({
      hint:
        "its clean-up failed too and stays on record: `podwire attachments` shows it, `podwire recover` retries it",
    });
  }

  /** A second ADD needs a DEL first: an attachment that a crash left, or that another runtime deleted, is removed. */
  async #clearEarlier(list: NetworkConfigList, key: AttachmentKey, signal?: AbortSignal): Promise<void> {
    const { store, cache } = this.#options;
    const record = await store.read(key);
    const context = { verb: "ADD", network: list.name, containerId: key.containerId, ifName: key.ifName };
    if (record?.state === "attached" && !await this.#isDeletedElsewhere(key)) {
      throw alreadyAttached(key, context);
    }
    // The interface that another runtime detached is gone: an interface with its name belongs to something else.
    const gone = record?.state === "attached" ? { netnsId: undefined } : {};
    if (record !== undefined) return await this.remove({ ...record, ...gone }, signal);
    await requireNotAttached(key, { store, cache, entry: await this.removal.cachedEntry(key) }, context);
  }

  /** Returns the list of the attachment's ADD, from its record or from the cache. */
  async recordedList(key: AttachmentKey): Promise<NetworkConfigList | undefined> {
    const known = await this.#options.store.read(key) ?? await this.removal.cachedEntry(key);
    return parseRecorded(known?.config);
  }

  /** Sets or removes the retry hint of the container, as its records require. The caller holds its lock. */
  async syncRetryHint(containerId: string): Promise<void> {
    await this.removal.progress.syncRetryHint(containerId);
  }

  /** Returns the identity of this boot. */
  async boot(): Promise<string> {
    return await this.removal.boot();
  }

  /** Whether another runtime detached what is on record: each ADD writes a cache entry, and only a DEL removes it. */
  async #isDeletedElsewhere(key: AttachmentKey): Promise<boolean> {
    const isGone = this.#options.cache.read(key).then((entry) => entry === undefined);
    return await isGone.catch(() => false);
  }
}
