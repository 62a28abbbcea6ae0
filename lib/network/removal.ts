import { bootId } from "../host/boot.ts";
import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import { identityOf, isSameIdentity } from "../host/netns_identity.ts";
import { once } from "../host/once.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import { asCniError } from "../plugin/failure.ts";
import type { CniError } from "../spec/error.ts";
import { type JsonObject, parseJson } from "../spec/json.ts";
import { backoffMs } from "./backoff.ts";
import { type ChainTarget, delChain } from "./chain.ts";
import type { FailedIndex } from "./failed_index.ts";
import type { HostPorts } from "./host_ports.ts";
import { noteIfPossible } from "./note.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "./record.ts";
import { listOnRecord } from "./recorded.ts";
import type { CachedAttachment, ResultCache } from "./result_cache.ts";

/** The parts that {@linkcode Removal} works with. */
export interface RemovalOptions {
  readonly runner: PluginRunner;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly ports: HostPorts;
  /** Which containers have attachments that could not be removed. */
  readonly failed: FailedIndex;
  readonly log: Logger;
  readonly run: RunCommand;
}

/**
 * Detaches what a record stands for, and forgets it only when its DEL has succeeded.
 *
 * The caller holds the container's lock.
 */
export class Removal {
  readonly #options: RemovalOptions;
  readonly #boot: () => Promise<string>;

  constructor(options: RemovalOptions) {
    this.#options = options;
    this.#boot = once(() => bootId(options.run));
  }

  /** Gives what failed first in the chain; the record then stays, as `failed`. */
  async attempt(
    record: AttachmentRecord,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<CniError | undefined> {
    const { runner, store, cache } = this.#options;
    try {
      const list = listOnRecord(record);
      using deadline = new Deadline(timeoutMs, signal);
      const target = await this.#targetOf(record);
      // The entry is there while the record lacks the result if a crash fell between the two.
      const added = record.result ?? (await this.foreign(record))?.result;
      await delChain(runner, list, target, added, deadline.signal, { neverRan: record.neverRan });
      // Its record goes last: a crash in between leaves what recovery finds.
      await this.#release(record, signal);
      await cache.remove(record);
      await store.remove(record);
      await this.#settle(record);
      return undefined;
    } catch (error) {
      const failure = asCniError(error, { verb: "DEL", network: record.network });
      await this.postpone(record, failure);
      return failure;
    }
  }

  /** Says on record that the removal has begun, if the disk takes it. */
  async begin(record: AttachmentRecord): Promise<void> {
    if (record.state !== "deleting") await this.#note({ ...record, state: "deleting", since: now() });
  }

  /** A claim that cannot be removed is one of the past once the record is gone, so it must not fail the removal. */
  async #release(record: AttachmentRecord, signal: AbortSignal | undefined): Promise<void> {
    const { ports, log } = this.#options;
    const { containerId, network, ifName, capabilityArgs } = record;
    const facts = { containerId, network, ifName };
    await noteIfPossible(() => ports.release(record, capabilityArgs, signal), log, facts);
  }

  /** A hint too many is in nobody's way. */
  async #settle({ containerId, network, ifName }: AttachmentRecord): Promise<void> {
    const { failed, log } = this.#options;
    await noteIfPossible(
      async () => {
        if (await failed.has(containerId)) await this.settleHint(containerId);
      },
      log,
      { containerId, network, ifName },
    );
  }

  /** Leaves the hint that the container has removals to be tried again exactly if it has. */
  async settleHint(containerId: string): Promise<void> {
    const { failed, store } = this.#options;
    const records = await store.ofContainer(containerId);
    if (records.some(isLeft)) await failed.add(containerId);
    else await failed.remove(containerId);
  }

  /** Says on record that the removal failed, and when it is tried again, if the disk takes it. */
  async postpone(record: AttachmentRecord, failure: CniError): Promise<void> {
    const { failed, log } = this.#options;
    const { containerId } = record;
    await noteIfPossible(() => failed.add(containerId), log, { containerId });
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
    await noteIfPossible(() => store.write(record), log, { containerId, network, ifName, state });
  }

  /**
   * The target of a DEL. A path that leads to another namespace than at ADD is passed as empty: the
   * namespace is gone, and whoever has the path now must not be touched.
   */
  async #targetOf(record: AttachmentRecord): Promise<ChainTarget> {
    const { containerId, ifName, cniArgs: args, capabilityArgs, netns } = record;
    const isSame = await this.isInNetns(record, netns);
    return { containerId, ifName, args, capabilityArgs, netns: isSame ? netns : "" };
  }

  /** Whether a path leads to the namespace of the record's ADD. */
  async isInNetns(
    { netnsId: id, netnsSince: since, bootId }: AttachmentRecord,
    path: string,
  ): Promise<boolean> {
    if (id === undefined || bootId !== await this.boot()) return false;
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

/** Whether a removal of the attachment had failed, or was cut short while it was tried again. */
export function isLeft({ state }: AttachmentRecord): boolean {
  return state === "failed" || state === "deleting";
}

function now(): string {
  return new Date().toISOString();
}
