import type { Lock } from "../host/lock.ts";
import { Deadline, DEFAULT_TIMEOUTS, type Timeouts } from "../plugin/deadline.ts";
import { asCniError, withCniErrors } from "../errors/to_cni_error.ts";
import type { Verb } from "../plugin/invocation.ts";
import { VersionProbe } from "../plugin/versions.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateNewCniArg } from "../cni/name.ts";
import { atLeast } from "../cni/version.ts";
import { withHolders } from "./address_holder.ts";
import { beginAttachment, keyOf, now, validate } from "./begin.ts";
import { addChain, checkChain } from "./chain.ts";
import {
  type CachedAttach,
  firstSkippedPluginOf,
  parseRecorded,
  refusalIn,
  versionOfAdd,
  withCachedArgs,
} from "../state/recorded_config.ts";
import {
  type AddOptions,
  type AttachRequest,
  type DelOptions,
  type WantedAttachment,
  withAttachDefaults,
} from "./request.ts";
import type { CallOptions } from "../async/call_options.ts";
import { published, type RequireFreeOptions } from "../state/host_ports.ts";
import type { NetworkLocks } from "../state/network_locks.ts";
import type { AttachmentKey, AttachmentRecord } from "../state/attachment_store.ts";
import { requireAllLocated } from "./located.ts";
import { Removal, type RemovalOptions } from "./removal.ts";
import { requireSameNetns } from "./same_netns.ts";
import { requireUnattached } from "../state/unrecorded.ts";
import { negotiate } from "./version_negotiation.ts";
import { inVersion } from "../cni/in_version.ts";

export type { AddOptions, AttachRequest, DelOptions, WantedAttachment } from "./request.ts";

/** The parts that {@linkcode Attachments} works with. */
export interface AttachmentsOptions extends RemovalOptions {
  /** @default {DEFAULT_TIMEOUTS} */
  readonly timeouts?: Timeouts | undefined;
  /** Those of networks, which keep the GC verb away while something is attached or detached. */
  readonly locks: { readonly networks: Pick<NetworkLocks, "share"> };
  /** Knows what plugins answered to VERSION. @default one of its own */
  readonly probe?: VersionProbe | undefined;
}

/**
 * One network at a time: ADD, CHECK and DEL over a configuration list, with a record on disk before
 * the first plugin runs and until DEL has succeeded.
 *
 * The caller holds the container's lock.
 *
 * Source: CNI specification 1.1.0, section 3.
 */
export class Attachments {
  readonly #options: AttachmentsOptions;
  readonly #timeouts: Timeouts;
  readonly #probe: VersionProbe;
  /** What takes attachments back. */
  readonly removal: Removal;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
    this.#timeouts = options.timeouts ?? DEFAULT_TIMEOUTS;
    this.removal = new Removal(options);
    this.#probe = options.probe ?? new VersionProbe(options.runner, this.#timeouts.VERSION);
  }

  /**
   * Attaches the container and gives the result in the version of the list. After a failure nothing
   * is attached, or a record in the state `failed` says what is left.
   *
   * @throws {CniError} with what failed first
   */
  async add(
    offered: NetworkConfigList,
    wanted: AttachRequest,
    options: AddOptions = {},
  ): Promise<JsonObject> {
    const request = withAttachDefaults(wanted);
    const { signal } = options;
    const key = keyOf(offered, request);
    validate(key, request);
    for (const [name, value] of request.args) validateNewCniArg(name, value);
    const list = await this.requirePlugins(offered, signal);
    await this.#clearLeftover(list, key, signal);
    using _shared = await this.#share(list.name, "ADD", signal);
    let record = await withCniErrors(
      () => beginAttachment(list, request, options, { ...this.#options, boot: () => this.boot() }),
      {
        verb: "ADD",
        network: list.name,
      },
    );
    try {
      using deadline = new Deadline(this.#timeouts.ADD, signal);
      // An undo gives the plugins the result that they had come to.
      const result = await addChain(this.#options.runner, list, request, deadline.signal, (result) => {
        record = { ...record, result };
      });
      record = { ...record, result };
      await this.#options.cache.write(record);
      await this.#options.store.write({ ...record, state: "attached", since: now() });
      return result;
    } catch (error) {
      const failure = asCniError(error, { verb: "ADD", network: list.name });
      throw await this.#undo(list, record, await withHolders(failure, record, this.#options.store));
    }
  }

  /**
   * Refuses several attachments of a container of which one cannot be made, before any of them is: names, arguments,
   * and ports of the host that are taken or asked for twice.
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
      validate(key, { args });
      return { key, capabilityArgs: published(list, capabilityArgs) };
    });
    await this.#options.ports.requireFree(ports, options);
  }

  /**
   * Refuses several attachments to a namespace of which one has an interface that is not free, before any of them is made.
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

  /** Refuses a list that no plugin may be run of; gives it in the version that it will be spoken in. */
  async requirePlugins(list: NetworkConfigList, signal?: AbortSignal): Promise<NetworkConfigList> {
    await requireAllLocated(list, this.#options.runner);
    return await withCniErrors(() => negotiate(list, this.#probe, signal), {
      verb: "ADD",
      network: list.name,
    });
  }

  /**
   * Asks each plugin whether the attachment is as its ADD left it. Whether the namespace is still that of its ADD is not
   * left to the plugins: many have nothing to say to CHECK, and where the list has `disableCheck` none is asked.
   *
   * @throws {CniError} if it is not, or the list's version has no CHECK; kind `not-found`, code 8, if the namespace is
   * gone or another one has its path
   */
  async check(
    offered: NetworkConfigList,
    wanted: AttachRequest,
    { signal }: CallOptions = {},
  ): Promise<void> {
    const request = withAttachDefaults(wanted);
    const key = keyOf(offered, request);
    validate(key, request);
    await this.#options.interfaces.requireAllowed(request.netns, { verb: "CHECK", network: offered.name });
    const context = { verb: "CHECK", network: offered.name };
    const known = await withCniErrors(() => this.#known(key), context);
    await withCniErrors(
      () => requireSameNetns(key, request.netns, this.#options.store, this.removal),
      context,
    );
    // It keeps the plugins from being asked; what was compared is podwire's own.
    if (offered.disableCheck && atLeast(offered.cniVersion, "0.4.0")) return;
    const list = await withCniErrors(() => this.#inVersionOfAdd(offered, known, signal), context);
    if (!atLeast(list.cniVersion, "0.4.0")) {
      const msg = `configuration version "${list.cniVersion}" does not support the CHECK command`;
      throw new CniError("config", msg, { ...context, code: ERROR_CODES.incompatibleVersion });
    }
    using deadline = new Deadline(this.#timeouts.CHECK, signal);
    await checkChain(
      this.#options.runner,
      list,
      withCachedArgs(request, known),
      known?.result,
      deadline.signal,
    );
  }

  /**
   * Detaches the container, with the configuration and arguments of its ADD where they are on
   * record. Detaching what is not attached asks the plugins all the same and succeeds with them.
   *
   * @throws {CniError} with the first failure in the chain; the record then stays, as `failed`
   */
  async del(list: NetworkConfigList, wanted: AttachRequest, options: DelOptions = {}): Promise<void> {
    const request = withAttachDefaults(wanted);
    const { signal } = options;
    const key = keyOf(list, request);
    validate(key, request);
    const record = await this.#options.store.read(key);
    if (record !== undefined) return await this.remove(record, signal);
    const foreign = await this.removal.foreign(key);
    const recorded = parseRecorded(foreign?.config) ??
      await withCniErrors(() => negotiate(list, this.#probe, signal), {
        verb: "DEL",
        network: list.name,
      });
    const netns = await withCniErrors(
      () => this.#options.interfaces.netnsForDel(recorded, request, foreign, options),
      { verb: "DEL", network: list.name },
    );
    const target = { ...withCachedArgs(request, foreign), netns };
    using _shared = await this.#share(list.name, "DEL", signal);
    using deadline = new Deadline(this.#timeouts.DEL, signal);
    const { forceForeign } = options;
    await this.removal.delete(recorded, target, foreign?.result, { forceForeign, signal: deadline.signal });
    await this.#options.cache.remove(key);
    await this.#options.store.remove(key);
  }

  /**
   * Detaches what a record stands for and forgets it.
   *
   * @throws {CniError} with the first failure in the chain; the record then stays, as `failed`
   */
  async remove(record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    using _shared = await this.#share(record.network, "DEL", signal).catch(async (error) => {
      if (!signal?.aborted) await this.removal.postpone(record, asCniError(error));
      throw error;
    });
    await this.removal.begin(record);
    const failure = await this.removal.attempt(record, this.#timeouts.DEL, signal);
    if (failure !== undefined) throw failure;
  }

  /** Keeps the GC verb away from the network. */
  async #share(network: string, verb: Verb, signal: AbortSignal | undefined): Promise<Lock> {
    return await withCniErrors(() => this.#options.locks.networks.share(network, signal), { verb, network });
  }

  /**
   * DEL of the whole list after a failed ADD. It gets a time of its own, as the caller's may be over,
   * but no more than the ADD had: whoever cut an ADD short does not want to wait for its undoing.
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

  /** A second ADD needs a DEL between: what a crash left, or another runtime deleted, is deleted first. */
  async #clearLeftover(list: NetworkConfigList, key: AttachmentKey, signal?: AbortSignal): Promise<void> {
    const { store, cache } = this.#options;
    const record = await store.read(key);
    const context = { verb: "ADD", network: list.name, containerId: key.containerId, ifName: key.ifName };
    const taken = `the container "${key.containerId}" is attached already as "${key.ifName}"`;
    if (record?.state === "attached" && !await this.#deletedElsewhere(key)) {
      throw new CniError("conflict", taken, {
        ...context,
        hint: "detach it first: `podwire del` or `podwire rm`",
      });
    }
    // What another runtime has detached is not in the namespace: an interface of the name is not this one's.
    const gone = record?.state === "attached" ? { netnsId: undefined } : {};
    if (record !== undefined) return await this.remove({ ...record, ...gone }, signal);
    await requireUnattached(key, { store, cache, foreign: await this.removal.foreign(key) }, context);
  }

  /** The list that the attachment was made with, as its record or the cache has it. */
  async recordedList(key: AttachmentKey): Promise<NetworkConfigList | undefined> {
    const known = await this.#options.store.read(key) ?? await this.removal.foreign(key);
    return parseRecorded(known?.config);
  }

  /** Leaves the hint that the container has removals to be tried again exactly if it has. The caller holds its lock. */
  async syncRetryHint(containerId: string): Promise<void> {
    await this.removal.syncRetryHint(containerId);
  }

  /** The identity of this boot. */
  async boot(): Promise<string> {
    return await this.removal.boot();
  }

  async #inVersionOfAdd(
    list: NetworkConfigList,
    known: CachedAttach | undefined,
    signal: AbortSignal | undefined,
  ): Promise<NetworkConfigList> {
    const version = versionOfAdd(list, known);
    return version === undefined ? await negotiate(list, this.#probe, signal) : inVersion(list, version);
  }

  async #known(key: AttachmentKey): Promise<CachedAttach | undefined> {
    return await this.#options.store.read(key) ?? await this.#options.cache.read(key);
  }

  /** Whether another runtime detached what is on record: each ADD writes an entry, and only a DEL removes it. */
  async #deletedElsewhere(key: AttachmentKey): Promise<boolean> {
    const isGone = this.#options.cache.read(key).then((entry) => entry === undefined);
    return await isGone.catch(() => false);
  }
}
