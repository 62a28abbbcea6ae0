import { backoffMs } from "../async/backoff.ts";
import { type Clock, systemClock } from "../async/clock.ts";
import { KeyedTimers } from "../async/keyed_timers.ts";
import { repeat } from "../async/repeat.ts";
import { Semaphore } from "../async/semaphore.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { isArray, isObject, member } from "../cni/json.ts";
import { atLeast } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import { attachmentId, type AttachmentKey, attachmentKey } from "../state/attachment_key.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { Locks } from "../state/locks.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import type { Attachments } from "./attachments.ts";
import type { Drifts } from "./drifts.ts";

/** Options of {@linkcode DriftChecks}. */
export interface DriftChecksOptions {
  readonly attachments: Pick<Attachments, "check">;
  readonly store: Pick<AttachmentStore, "all" | "read">;
  readonly locks: Pick<Locks, "containers">;
  readonly drifts: Drifts;
  /** Whether a CHECK of these plugins may be repeated. */
  readonly mayCheckAgain: (list: NetworkConfigList, signal: AbortSignal) => Promise<boolean>;
  readonly log: Logger;
  /** Milliseconds between two rounds over all attachments; 0 for none. */
  readonly intervalMs: number;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

/** Each CHECK of a plugin on disk is a process. */
const AT_ONCE = 2;
/** How long a container with an operation in progress is left alone. */
const BUSY_MS = 1_000;
/** What has happened to a link settles first: often its container is being removed. */
const SETTLE_MS = 500;

/**
 * Lets the plugins CHECK the attachments on record, those of plugins on disk included: from time to time, and soon after something
 * happened to one of their links. An attachment that has drifted is looked at again after a second, and then after twice as long
 * each time, up to five minutes.
 */
export class DriftChecks implements AsyncDisposable {
  readonly #options: DriftChecksOptions;
  readonly #timers: KeyedTimers;
  readonly #slots = new Semaphore(AT_ONCE);
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  /** How often in a row an attachment was found to have drifted. */
  readonly #attempts = new Map<string, number>();
  #rounds: AsyncDisposable | undefined;

  constructor(options: DriftChecksOptions) {
    this.#options = options;
    this.#timers = new KeyedTimers(options.clock ?? systemClock);
  }

  /** Starts the rounds. */
  start(): void {
    const { intervalMs, log } = this.#options;
    if (intervalMs === 0) return;
    this.#rounds = repeat(intervalMs, () => this.#round(), (error) => {
      log.error(`Cannot check the attachments: ${asCniError(error).message}`);
    });
  }

  /** Checks an attachment soon. */
  hurry(key: AttachmentKey, ms = 0): void {
    if (this.#stop.signal.aborted) return;
    this.#timers.set(attachmentId(key), ms, () => void this.#begin(attachmentKey(key)));
  }

  /** Checks soon the attachments that have one of these links on the host. */
  async hurryLinks(names: ReadonlySet<string>): Promise<void> {
    if (names.size === 0) return;
    for (const record of await this.#attached()) {
      if (hostLinks(record).some((name) => names.has(name))) this.hurry(record, SETTLE_MS);
    }
  }

  /** Ends the rounds, and the checks in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#timers[Symbol.dispose]();
    await this.#rounds?.[Symbol.asyncDispose]();
    await Promise.all(this.#running);
  }

  async #attached(): Promise<readonly AttachmentRecord[]> {
    return (await this.#options.store.all()).filter(({ state }) => state === "attached");
  }

  async #round(): Promise<void> {
    const { drifts } = this.#options;
    const records = await this.#attached();
    const ids = new Set(records.map(attachmentId));
    // What is gone has not drifted, and is looked at no more.
    for (const drift of drifts.current) if (!ids.has(attachmentId(drift))) this.#settle(drift, undefined);
    // Those that did not pass have a time of their own.
    const others = records.filter((record) => !this.#attempts.has(attachmentId(record)));
    await Promise.all(others.map((record) => this.#begin(record)));
  }

  #begin(key: AttachmentKey): Promise<void> {
    const running = this.#check(key).finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }

  async #check(key: AttachmentKey): Promise<void> {
    const { signal } = this.#stop;
    const { store, locks, log } = this.#options;
    try {
      using _slot = await this.#slots.acquire(signal);
      await using lock = await locks.containers.tryHold(key.containerId);
      if (lock === undefined) return this.hurry(key, BUSY_MS);
      const record = await store.read(key);
      if (record?.state !== "attached") return this.#settle(key, undefined);
      this.#settle(key, await this.#problemOf(record, signal));
    } catch (error) {
      if (signal.aborted) return;
      log.error(`Cannot check an attachment: ${asCniError(error, key).message}`);
      const attempts = this.#attempts.get(attachmentId(key));
      if (attempts !== undefined) this.hurry(key, backoffMs(attempts));
    }
  }

  async #problemOf(record: AttachmentRecord, signal: AbortSignal): Promise<string | undefined> {
    const list = listOnRecord(record);
    if (list.disableCheck || !atLeast(list.cniVersion, "0.4.0")) return undefined;
    try {
      if (!await this.#options.mayCheckAgain(list, signal)) return undefined;
      await this.#options.attachments.check(list, { ...record, args: record.cniArgs }, { signal });
      return undefined;
    } catch (error) {
      // A CHECK that was cut short says nothing.
      signal.throwIfAborted();
      return asCniError(error).message;
    }
  }

  #settle(key: AttachmentKey, why: string | undefined): void {
    const id = attachmentId(key);
    this.#options.drifts.take("check", key, why);
    if (why === undefined) return void this.#attempts.delete(id);
    const attempts = (this.#attempts.get(id) ?? 0) + 1;
    this.#attempts.set(id, attempts);
    this.hurry(key, backoffMs(attempts));
  }
}

/** The links of an attachment on the host, as its result names them. */
function hostLinks({ result }: AttachmentRecord): readonly string[] {
  const interfaces = result === undefined ? undefined : member(result, "interfaces");
  if (!isArray(interfaces)) return [];
  return interfaces.filter(isObject).filter((one) => !member(one, "sandbox")).flatMap((one) => {
    const name = member(one, "name");
    return typeof name === "string" ? [name] : [];
  });
}
