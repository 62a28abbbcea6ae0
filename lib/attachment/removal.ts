import { once } from "../async/once.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import { inVersion } from "../cni/in_version.ts";
import type { JsonObject } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { bootId } from "../host/boot.ts";
import type { RunCommand } from "../host/command.ts";
import { identityOf, isSameIdentity } from "../host/netns_identity.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { HostVeth } from "../kernel/veth.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import { isConfigAtFault } from "../plugin/refusal.ts";
import type { AttachmentKey, AttachmentRecord } from "../state/attachment_store.ts";
import type { HostPorts } from "../state/host_ports.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import type { CachedAttachment, ResultCache } from "../state/result_cache.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import { delChain } from "./chain.ts";
import { isSameRefusal } from "./failed_add.ts";
import { HostEnds } from "./host_ends.ts";
import type { InterfaceGuard } from "./interface_guard.ts";
import { type FreeLeftovers, type LeftoverSource, recordedAddresses } from "./leftovers.ts";
import { RemovalProgress, type RemovalProgressOptions } from "./removal_progress.ts";
import { withDetails } from "./with_details.ts";

/** Dependencies of {@linkcode Removal}. */
export interface RemovalOptions extends RemovalProgressOptions {
  readonly runner: PluginRunner;
  readonly cache: ResultCache;
  readonly ports: HostPorts;
  readonly interfaces: InterfaceGuard;
  readonly run: RunCommand;
  /** Finds the configuration that a network has now. @default {finds none} */
  readonly currentList?: FindCurrentList | undefined;
  /** Frees what can be freed without the plugins of an attachment. @default {frees nothing} */
  readonly freeLeftovers?: FreeLeftovers | undefined;
  /** Returns the identity of this boot. @default {reads it with `run`, once} */
  readonly boot?: (() => Promise<string>) | undefined;
}

/** Returns the configuration that a network has now, if it has a usable one. */
export type FindCurrentList = (
  network: string,
  signal?: AbortSignal,
) => Promise<NetworkConfigList | undefined>;

/** How plugins are asked to detach. */
interface DeleteOptions {
  readonly signal: AbortSignal;
  /** The index of the first plugin that did not run in the ADD. */
  readonly firstSkippedPlugin?: number | undefined;
  /** Whether to remove any interface that has the name of the attachment's. @default {false} */
  readonly forceForeign?: boolean | undefined;
}

/**
 * Detaches what a record stands for, and removes the record only when its DEL has succeeded.
 *
 * The caller holds the container's lock.
 */
export class Removal {
  /** Writes how far removals are. */
  readonly progress: RemovalProgress;
  readonly #options: RemovalOptions;
  readonly #ends: HostEnds;
  readonly #boot: () => Promise<string>;

  constructor(options: RemovalOptions) {
    this.#options = options;
    this.progress = new RemovalProgress(options);
    this.#ends = new HostEnds(options);
    this.#boot = options.boot ?? once(() => bootId(options.run));
  }

  /** Detaches. Returns what failed first in the chain; the record then stays, as `failed`. */
  async attempt(
    record: AttachmentRecord,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<CniError | undefined> {
    try {
      await this.#detach(record, timeoutMs, signal);
      await this.#restoreRoutes(record, signal);
      await this.forget(record, signal);
      return undefined;
    } catch (error) {
      const failure = asCniError(error, { verb: "DEL", network: record.network });
      await this.progress.postpone(record, failure);
      return failure;
    }
  }

  /** Changes routes back that the attachment changed. In a namespace that is gone there are none. */
  async #restoreRoutes(record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    const { displaced, netns } = record;
    if (displaced === undefined || !await this.isInNetns(record, netns)) return;
    // Few attachments have changed any, and a command that attaches needs none of that code.
    const { restoreRoutes } = await import("./displaced_routes.ts");
    await restoreRoutes(displaced, { netns, run: this.#options.run, signal });
  }

  /** Removes everything on disk about an attachment. */
  async forget(record: AttachmentRecord, signal?: AbortSignal): Promise<void> {
    // The record goes last: after a crash in between, recovery finds it.
    await this.#release(record, signal);
    await this.#options.cache.remove(record);
    await this.#options.store.remove(record);
    await this.progress.finish(record);
  }

  /** Runs DEL with the configuration of the ADD, and if that is at fault, with the one that the network has now. */
  async #detach(record: AttachmentRecord, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { network, containerId, ifName } = record;
    const facts = { network, containerId, ifName };
    try {
      return await this.#del(record, () => listOnRecord(record), timeoutMs, signal);
    } catch (error) {
      const failure = asCniError(error, { verb: "DEL", network });
      if (isSameRefusal(record, failure) && !await this.#hasInterface(record)) return;
      const current = isConfigAtFault(failure) && !signal?.aborted
        ? await this.#currentList(record, signal)
        : undefined;
      if (current === undefined) throw failure;
      const { log } = this.#options;
      const second = "DEL is tried with the configuration that the network has now";
      log.warn(`the configuration of its ADD cannot be used any more: ${failure.message}; ${second}`, facts);
      await this.#del(record, () => current, timeoutMs, signal).catch((again) => {
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
    const added = await this.#resultOf(record);
    const { firstSkippedPlugin } = record;
    const isIncomplete = await this.delete(list, target, added, {
      signal: deadline.signal,
      firstSkippedPlugin,
    });
    // Links and rules of an earlier boot are gone.
    if (isIncomplete && record.bootId === await this.boot()) {
      await this.#freeLeftovers({ ...record, netns: "" }, signal);
    }
  }

  /** Returns undefined if the network still has the configuration of the ADD, which failed already. */
  async #currentList(
    { network, config, cniVersion }: AttachmentRecord,
    signal: AbortSignal | undefined,
  ): Promise<NetworkConfigList | undefined> {
    // If the directory cannot be read, the failure of the DEL is reported unchanged.
    const list = await this.#options.currentList?.(network, signal).catch(() => undefined);
    if (list === undefined || list.text === config) return undefined;
    const version = cniVersion !== undefined && list.cniVersions.includes(cniVersion)
      ? cniVersion
      : undefined;
    return version === undefined ? list : inVersion(list, version);
  }

  /** Frees what only the old configuration named. */
  async #freeLeftovers(record: AttachmentRecord, signal: AbortSignal | undefined): Promise<void> {
    const { freeLeftovers, log } = this.#options;
    const { network, containerId, ifName } = record;
    const found = await freeLeftovers?.(await this.leftoverSource(record), { signal });
    for (const what of found?.freed ?? []) log.info(`freed ${what}`, { network, containerId, ifName });
    for (const what of found?.remaining ?? []) {
      log.warn(`left behind: ${what}`, { network, containerId, ifName });
    }
  }

  /** Returns the attachment with its namespace, or with an empty one if the namespace is gone. */
  async leftoverSource(record: AttachmentRecord): Promise<LeftoverSource> {
    const { network, containerId, ifName, config } = record;
    const addresses = recordedAddresses(await this.#resultOf(record));
    return { network, containerId, ifName, config, netns: (await this.#targetOf(record)).netns, addresses };
  }

  /** After a crash between the two writes, the cache has the result and the record does not. */
  async #resultOf(record: AttachmentRecord): Promise<JsonObject | undefined> {
    return record.result ?? (await this.cachedEntry(record))?.result;
  }

  /** Whether the interface of the attachment is in its namespace. True if that cannot be determined. */
  async #hasInterface(record: AttachmentRecord): Promise<boolean> {
    const { netns } = await this.#targetOf(record);
    if (netns === "") return false;
    try {
      const found = await findLink(kernelFor(this.#options.run), record.ifName, { netns });
      return found?.name === record.ifName;
    } catch {
      return true;
    }
  }

  /**
   * Runs DEL of the whole list. Afterwards the pod has no link to the host, whatever it did to its interfaces. Returns
   * whether plugins on disk may have left their rules in place, as the reference plugins do without the namespace, or
   * without the interface in it: the namespace was withheld from them, is gone, or the pod renamed or moved its interface.
   */
  async delete(
    list: NetworkConfigList,
    target: AttachTarget,
    added: JsonObject | undefined,
    { signal, firstSkippedPlugin, forceForeign = false }: DeleteOptions,
  ): Promise<boolean> {
    const { runner, log } = this.#options;
    const place = await this.#ends.targetFor(list, target, added, { signal, forceForeign });
    let ends: readonly HostVeth[] = [];
    const beforeFirst = async () => void (ends = await this.#ends.cutOff(list, added, signal));
    await delChain(runner, list, place, added, signal, { firstSkippedPlugin, beforeFirst });
    const left = await this.#ends.remove(ends, signal);
    for (const name of left) {
      log.info(`removed ${name}, the end on the host of an interface that its plugin did not find`, {
        network: list.name,
        containerId: target.containerId,
      });
    }
    return (place.netns === "" || left.length > 0) && !await this.#ends.isBuiltin(list);
  }

  /** A claim without a record is ignored and removed by recovery, so a claim that stays must not fail the removal. */
  async #release(record: AttachmentRecord, signal: AbortSignal | undefined): Promise<void> {
    const { ports, interfaces, log } = this.#options;
    const { containerId, network, ifName, capabilityArgs } = record;
    const facts = { containerId, network, ifName };
    await writeBestEffort(() => ports.release(record, capabilityArgs, signal), log, facts);
    await writeBestEffort(() => interfaces.release(record, signal), log, facts);
  }

  /**
   * Returns the target of a DEL. Its path is empty if it now leads to another namespace than at ADD: that namespace is gone,
   * and the one at the path now must not be touched. It is empty as well if the interface belongs to another attachment.
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

  /** Returns the identity of this boot. */
  async boot(): Promise<string> {
    return await this.#boot();
  }

  /**
   * Returns the entry of libcni's cache, which another runtime may have written. An entry that cannot be read counts as
   * missing: it must not make the attachment undeletable.
   */
  async cachedEntry(key: AttachmentKey): Promise<CachedAttachment | undefined> {
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
