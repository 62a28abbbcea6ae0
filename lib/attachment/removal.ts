import { bootId } from "../host/boot.ts";
import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import { showLinks } from "../host/link_info.ts";
import { identityOf, isSameIdentity } from "../host/netns_identity.ts";
import { once } from "../async/once.ts";
import type { HostVeth } from "../host/veth.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { isConfigAtFault } from "../plugin/refusal.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { type JsonObject, parseJson } from "../cni/json.ts";
import { backoffMs } from "../async/backoff.ts";
import { delChain } from "./chain.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import { HostEnds } from "./host_ends.ts";
import type { HostPorts } from "../state/host_ports.ts";
import type { InterfaceGuard } from "./interface_guard.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { isSameRefusal, listOnRecord } from "../state/recorded_config.ts";
import type { CachedAttachment, ResultCache } from "../state/result_cache.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import { inVersion } from "../cni/in_version.ts";

/** The parts that {@linkcode Removal} works with. */
export interface RemovalOptions {
  readonly runner: PluginRunner;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly ports: HostPorts;
  readonly interfaces: InterfaceGuard;
  /** Which containers have attachments that could not be removed. */
  readonly failed: FailedIndex;
  readonly log: Logger;
  readonly run: RunCommand;
  /** The configuration that a network has now. @default that of no network is known */
  readonly present?: PresentList | undefined;
  /** Frees what can be freed without the plugins of an attachment. @default nothing */
  readonly freeLeftovers?: FreeLeftovers | undefined;
}

/** The configuration that a network has now, if it has a usable one. */
export type PresentList = (network: string, signal?: AbortSignal) => Promise<NetworkConfigList | undefined>;

/**
 * Frees what the built-in plugins, and those whose state they share, made for an attachment: what is marked as its own.
 * The namespace is empty where it is gone.
 */
export type FreeLeftovers = (attachment: LeftoverOwner, options: LeftoverOptions) => Promise<Leftovers>;

/** Whose leftovers are meant. */
export interface LeftoverOwner extends AttachmentKey {
  /** The text of the configuration list. */
  readonly config: string;
  readonly netns: string;
}

/** How leftovers are freed. */
export interface LeftoverOptions {
  /** Only tells what would be. @default {false} */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How plugins are asked to detach. */
interface DeleteOptions {
  readonly signal: AbortSignal;
  /** The index of the first plugin that did not run in the ADD. */
  readonly firstSkippedPlugin?: number | undefined;
  /** Whether whatever has the name of the interface is to go. @default {false} */
  readonly forceForeign?: boolean | undefined;
}

/** What came of the leftovers of an attachment, each in words. */
export interface Leftovers {
  readonly freed: readonly string[];
  readonly remaining: readonly string[];
}

/**
 * Detaches what a record stands for, and forgets it only when its DEL has succeeded.
 *
 * The caller holds the container's lock.
 */
export class Removal {
  readonly #options: RemovalOptions;
  readonly #ends: HostEnds;
  readonly #boot: () => Promise<string>;

  constructor(options: RemovalOptions) {
    this.#options = options;
    this.#ends = new HostEnds(options);
    this.#boot = once(() => bootId(options.run));
  }

  /** Gives what failed first in the chain; the record then stays, as `failed`. */
  async attempt(
    record: AttachmentRecord,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<CniError | undefined> {
    try {
      await this.#detach(record, timeoutMs, signal);
      await this.letGo(record, signal);
      return undefined;
    } catch (error) {
      const failure = asCniError(error, { verb: "DEL", network: record.network });
      await this.postpone(record, failure);
      return failure;
    }
  }

  /** Forgets an attachment with all that is on disk of it. */
  async letGo(record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    // Its record goes last: a crash in between leaves what recovery finds.
    await this.#release(record, signal);
    await this.#options.cache.remove(record);
    await this.#options.store.remove(record);
    await this.#settle(record);
  }

  /** DEL with the configuration of the ADD, and if that is at fault with the one that the network has now. */
  async #detach(record: AttachmentRecord, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { network, containerId, ifName } = record;
    const facts = { network, containerId, ifName };
    try {
      return await this.#del(record, () => listOnRecord(record), timeoutMs, signal);
    } catch (error) {
      const failure = asCniError(error, { verb: "DEL", network });
      if (isSameRefusal(record, failure) && !await this.#hasInterface(record)) return;
      const present = isConfigAtFault(failure) && !signal?.aborted
        ? await this.#presentList(record, signal)
        : undefined;
      if (present === undefined) throw failure;
      const { log } = this.#options;
      const second = "DEL is tried with the configuration that the network has now";
      log.warn(`the configuration of its ADD cannot be used any more: ${failure.message}; ${second}`, facts);
      await this.#del(record, () => present, timeoutMs, signal).catch((again) => {
        throw withDetails(
          failure,
          `with the configuration that the network has now: ${asCniError(again).message}`,
        );
      });
      await this.#freeLeftovers(record, signal);
    }
  }

  async #del(
    record: AttachmentRecord,
    listOf: () => NetworkConfigList,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const list = listOf();
    using deadline = new Deadline(timeoutMs, signal);
    const target = await this.#targetOf(record);
    // The entry is there while the record lacks the result if a crash fell between the two.
    const added = record.result ?? (await this.foreign(record))?.result;
    const { firstSkippedPlugin } = record;
    const isWithheld = await this.delete(list, target, added, {
      signal: deadline.signal,
      firstSkippedPlugin,
    });
    // Without the namespace the reference plugins leave their rules.
    if (isWithheld) await this.#freeLeftovers({ ...record, netns: "" }, signal);
  }

  /** Undefined where it is the one of the ADD, which failed already. */
  async #presentList(
    { network, config, cniVersion }: AttachmentRecord,
    signal: AbortSignal | undefined,
  ): Promise<NetworkConfigList | undefined> {
    // A directory that cannot be read leaves the failure of the DEL as it is.
    const list = await this.#options.present?.(network, signal).catch(() => undefined);
    if (list === undefined || list.text === config) return undefined;
    const spoken = cniVersion !== undefined && list.cniVersions.includes(cniVersion) ? cniVersion : undefined;
    return spoken === undefined ? list : inVersion(list, spoken);
  }

  /** What the old configuration named and the new one does not know of. */
  async #freeLeftovers(record: AttachmentRecord, signal: AbortSignal | undefined): Promise<void> {
    const { freeLeftovers, log } = this.#options;
    const { network, containerId, ifName } = record;
    const found = await freeLeftovers?.(await this.leftoverOwner(record), { signal });
    for (const what of found?.freed ?? []) log.info(`freed ${what}`, { network, containerId, ifName });
    for (const what of found?.remaining ?? []) {
      log.warn(`left behind: ${what}`, { network, containerId, ifName });
    }
  }

  /** The attachment, with its namespace if that is still there. */
  async leftoverOwner(record: AttachmentRecord): Promise<LeftoverOwner> {
    const { network, containerId, ifName, config } = record;
    return { network, containerId, ifName, config, netns: (await this.#targetOf(record)).netns };
  }

  /** Whether the interface of the attachment is in its namespace; so it counts as well where that cannot be seen. */
  async #hasInterface(record: AttachmentRecord): Promise<boolean> {
    const { netns } = await this.#targetOf(record);
    if (netns === "") return false;
    try {
      const links = await showLinks(["link", "show"], { netns, run: this.#options.run });
      return links.some(({ name }) => name === record.ifName);
    } catch {
      return true;
    }
  }

  /**
   * DEL of the whole list; afterwards the pod keeps nothing that leads to the host, whatever it did inside. Gives whether
   * the plugins did not get the namespace, as another interface has the name of the attachment's.
   */
  async delete(
    list: NetworkConfigList,
    target: AttachTarget,
    added: JsonObject | undefined,
    { signal, firstSkippedPlugin, forceForeign = false }: DeleteOptions,
  ): Promise<boolean> {
    const { runner, log } = this.#options;
    const place = await this.#ends.placeFor(list, target, added, { signal, forceForeign });
    let ends: readonly HostVeth[] = [];
    const beforeFirst = async () => void (ends = await this.#ends.cutOff(list, added, signal));
    await delChain(runner, list, place, added, signal, { firstSkippedPlugin, beforeFirst });
    for (const name of await this.#ends.remove(ends, signal)) {
      log.info(`removed ${name}, the end on the host of an interface that its plugin did not find`, {
        network: list.name,
        containerId: target.containerId,
      });
    }
    return place !== target;
  }

  /** Says on record that the removal has begun, if the disk takes it. */
  async begin(record: AttachmentRecord): Promise<void> {
    if (record.state !== "deleting") await this.#note({ ...record, state: "deleting", since: now() });
  }

  /** A claim that cannot be removed is one of the past once the record is gone, so it must not fail the removal. */
  async #release(record: AttachmentRecord, signal: AbortSignal | undefined): Promise<void> {
    const { ports, interfaces, log } = this.#options;
    const { containerId, network, ifName, capabilityArgs } = record;
    const facts = { containerId, network, ifName };
    await writeBestEffort(() => ports.release(record, capabilityArgs, signal), log, facts);
    await writeBestEffort(() => interfaces.release(record, signal), log, facts);
  }

  /** A hint too many is in nobody's way. */
  async #settle({ containerId, network, ifName }: AttachmentRecord): Promise<void> {
    const { failed, log } = this.#options;
    await writeBestEffort(
      async () => {
        if (await failed.has(containerId)) await this.syncRetryHint(containerId);
      },
      log,
      { containerId, network, ifName },
    );
  }

  /** Leaves the hint that the container has removals to be tried again, or damaged records, exactly if it has. */
  async syncRetryHint(containerId: string): Promise<void> {
    const { failed, store } = this.#options;
    const { records, damaged } = await store.scan(containerId);
    if (records.some(isPendingRemoval) || damaged.some(({ isNewer }) => !isNewer)) {
      await failed.add(containerId);
    } // A newer version may have left it for what it knows.
    else if (damaged.length === 0) await failed.remove(containerId);
  }

  /** Says on record that the removal failed, and when it is tried again, if the disk takes it. */
  async postpone(record: AttachmentRecord, failure: CniError): Promise<void> {
    const { failed, log } = this.#options;
    const { containerId } = record;
    await writeBestEffort(() => failed.add(containerId), log, { containerId });
    const attempts = record.attempts + 1;
    await this.#note({
      ...record,
      state: "failed",
      attempts,
      since: record.state === "failed" ? record.since : now(),
      nextTry: new Date(Date.now() + backoffMs(attempts)).toISOString(),
      error: parseJson(JSON.stringify(failure)) as JsonObject,
    });
  }

  async #note(record: AttachmentRecord): Promise<void> {
    const { store, log } = this.#options;
    const { containerId, network, ifName, state } = record;
    await writeBestEffort(() => store.write(record), log, { containerId, network, ifName, state });
  }

  /**
   * The target of a DEL. A path that leads to another namespace than at ADD is passed as empty: the
   * namespace is gone, and whoever has the path now must not be touched. So is one whose interface is not this one's.
   */
  async #targetOf(record: AttachmentRecord): Promise<AttachTarget> {
    const { containerId, ifName, cniArgs: args, capabilityArgs, netns } = record;
    const mayEnter = await this.isInNetns(record, netns) &&
      await this.#options.interfaces.mayEnter(record);
    return { containerId, ifName, args, capabilityArgs, netns: mayEnter ? netns : "" };
  }

  /** Whether a path leads to the namespace of the record's ADD. */
  async isInNetns(
    { netnsId: id, netnsSince: since, bootId }: AttachmentRecord,
    path: string,
  ): Promise<boolean> {
    if (id === undefined || path === "" || bootId !== await this.boot()) return false;
    return isSameIdentity({ id, since }, await identityOf(path));
  }

  /** The identity of this boot. */
  async boot(): Promise<string> {
    return await this.#boot();
  }

  /** What another runtime remembers; an entry that cannot be read must not make it undeletable. */
  async foreign(key: AttachmentKey): Promise<CachedAttachment | undefined> {
    try {
      return await this.#options.cache.read(key);
    } catch (error) {
      const { msg, kind } = asCniError(error);
      if (kind !== "io") throw error;
      this.#options.log.warn(msg, { ...key });
      return undefined;
    }
  }
}

/** The error with more to say. */
export function withDetails({ kind, msg, code, context, cause }: CniError, more: string): CniError {
  const details = context.details === undefined ? more : `${context.details}; ${more}`;
  return new CniError(kind, msg, { ...context, code, cause, details });
}

/** Whether a removal of the attachment had failed, or was cut short while it was tried again. */
export function isPendingRemoval({ state }: AttachmentRecord): boolean {
  return state === "failed" || state === "deleting";
}

function now(): string {
  return new Date().toISOString();
}
