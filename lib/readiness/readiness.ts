import type { CallOptions } from "../async/call_options.ts";
import { type Clock, systemClock } from "../async/clock.ts";
import { KeyedTimers } from "../async/keyed_timers.ts";
import { abortable, settled } from "../async/wait.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogChange, CatalogSource } from "../catalog/source.ts";
import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { ReadyCondition } from "./condition.ts";
import { ConditionWriter } from "./condition_writer.ts";
import type { ReadinessMemory } from "./memory.ts";
import { type NetworkCondition, PENDING } from "./network_condition.ts";
import { NetworkConditions } from "./network_conditions.ts";
import { Prober, type ProbeResult } from "./prober.ts";
import { failed, type NetworkAnswer, type NetworkStatus } from "./status.ts";
import type { ProbeNetwork } from "./status_check.ts";
import { StatusListeners } from "./status_listeners.ts";
import { NO_DEFAULT, statusOf, statusTargets } from "./status_target.ts";

/** Options of {@linkcode Readiness}. */
export interface ReadinessOptions {
  readonly source: CatalogSource;
  /** Asks the plugins of a network. It ends soon after its signal fires. */
  readonly ask: ProbeNetwork;
  /** The conditions that earlier processes saw. */
  readonly memory?: ReadinessMemory | undefined;
  readonly defaultNetwork?: string | undefined;
  /** How long a network that was ready and fails still counts as ready, in milliseconds. @default {30_000} */
  readonly graceMs?: number | undefined;
  /** How often all networks are asked, in milliseconds; less often if there are more than a hundred. @default {10_000} */
  readonly intervalMs?: number | undefined;
  readonly log: Logger;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

/** Each probe is at least one process: this makes ten per second with the default interval. */
const PROBES_PER_INTERVAL = 100;

/** A plugin that gets SIGTERM is killed after 2 s. The end of this object waits little longer than that. */
const MAX_CLOSING_MS = 3_000;

/** The key of the timer of the next round. No network and no path has this name. */
const ROUND = "(round)";

/**
 * Knows whether the networks of a catalog are ready, so that callers get the answer at once. The plugins are asked in the
 * background: at the start, after each change of the catalog or of a plugin directory, and every ten seconds. If there are
 * so many networks that the probes alone would keep the machine busy, they are asked less often.
 *
 * A network that was ready and fails still counts as ready for a period of grace, and its status says why it fails. There is
 * no grace for a network whose configuration was removed, nor for one that was not ready yet in this process.
 */
export class Readiness implements AsyncDisposable {
  readonly #options: ReadinessOptions;
  readonly #clock: Clock;
  readonly #prober: Prober;
  readonly #conditions: NetworkConditions;
  readonly #writer: ConditionWriter;
  readonly #listeners: StatusListeners;
  readonly #timers: KeyedTimers;
  readonly #stop = new AbortController();
  #subscription: Disposable | undefined;
  #catalog: Catalog | undefined;
  /** Number of catalogs that were taken over. */
  #changes = 0;
  /** The status of everything as long as no catalog could be read. */
  #unread: NetworkStatus;
  #remembered: ReadonlyMap<string, ReadyCondition> = new Map();
  /** Pending while the memory is read. A refresh waits for it: otherwise it would overwrite what is remembered. */
  #recalled: Promise<void> = Promise.resolve();
  #begun: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor(options: ReadinessOptions) {
    const { log, graceMs = 30_000, clock = systemClock, ask, memory } = options;
    this.#options = options;
    this.#clock = clock;
    this.#unread = this.#statusBeforeReading(PENDING);
    this.#timers = new KeyedTimers(clock);
    this.#listeners = new StatusListeners(log);
    this.#conditions = new NetworkConditions({ clock, graceMs });
    this.#writer = new ConditionWriter(memory, () => this.#conditions.known);
    this.#prober = new Prober({ ask, onAnswer: (network, answer) => this.#take(network, answer) });
  }

  /** Starts to ask, in the background. */
  static start(options: ReadinessOptions): Readiness {
    const readiness = new Readiness(options);
    readiness.#recalled = readiness.#recall();
    readiness.#begun = readiness.#begin();
    return readiness;
  }

  /** Resolves after the first attempt to read the catalog. It does not wait for answers. */
  get begun(): Promise<void> {
    return this.#begun;
  }

  /**
   * Returns the known statuses of all networks, or of those with that name, without waiting. A name that is not in the
   * catalog has none. Before a catalog is read there is one status, which stands for all.
   */
  statuses(name?: string): readonly NetworkStatus[] {
    if (this.#catalog === undefined) return [{ ...this.#unread, network: name ?? this.#unread.network }];
    return this.#conditions.statuses(name);
  }

  /**
   * Returns what {@linkcode Readiness.statuses} does. If `fresh` is set or the name is unknown, it does what
   * {@linkcode Readiness.refresh} does: the network may be new, and otherwise the caller gets the error.
   *
   * @throws {CniError} as {@linkcode Readiness.refresh}
   */
  async answer(
    { network, fresh = false }: {
      readonly network?: string | undefined;
      readonly fresh?: boolean | undefined;
    },
    { signal }: CallOptions = {},
  ): Promise<readonly NetworkStatus[]> {
    signal?.throwIfAborted();
    const known = this.statuses(network);
    const isKnown = network === undefined || known.length > 0;
    return fresh || !isKnown ? await this.refresh(network, signal) : known;
  }

  /**
   * Asks all networks, or the one of that name, and returns their answers. If a probe is in progress, it waits for that one
   * and starts no other.
   *
   * @throws {CniError} kind `not-found`, the reason of the signal, or why a network could not be asked
   */
  async refresh(name?: string, signal?: AbortSignal): Promise<readonly NetworkStatus[]> {
    const either = AbortSignal.any([this.#stop.signal, ...(signal === undefined ? [] : [signal])]);
    either.throwIfAborted();
    await abortable(this.#recalled, either);
    const catalog = await abortable(this.#synchronize(either), either);
    if (name !== undefined && this.statuses(name).length === 0) catalog.asCnitool(name);
    const probes = this.#conditions.ofNetwork(name).map((one) => this.#probe(one, name !== undefined));
    for (const error of await abortable(Promise.all(probes), either)) if (error !== undefined) throw error;
    return this.statuses(name);
  }

  /**
   * Calls `listener` when a network becomes ready, stops being ready, or fails for another reason, until disposed of. A
   * network that is no longer in the catalog is reported as `no-config`.
   */
  onChange(listener: (status: NetworkStatus) => void): Disposable {
    return this.#listeners.add(listener);
  }

  /** Stops asking, and ends the plugins that are being asked. The known statuses can still be read. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#stop.abort(new CniError("cancelled", "the networks are not watched any more"));
    this.#subscription?.[Symbol.dispose]();
    this.#timers[Symbol.dispose]();
    this.#listeners.clear();
    await settled(Promise.all([this.#prober.close(), this.#writer.idle()]), MAX_CLOSING_MS);
  }

  async #recall(): Promise<void> {
    this.#remembered = await this.#options.memory?.read() ?? new Map();
  }

  async #begin(): Promise<void> {
    await this.#recalled;
    if (this.#stop.signal.aborted) return;
    this.#subscription = this.#options.source.onChange((change) => this.#onCatalogChange(change));
    await this.#round();
  }

  /** Asks all networks, and again after the interval. */
  async #round(): Promise<void> {
    const { signal } = this.#stop;
    const { intervalMs = 10_000, log } = this.#options;
    try {
      await this.#synchronize(signal);
      this.#probeAll(this.#conditions.all);
    } catch (cause) {
      const error = asCniError(cause);
      if (this.#catalog === undefined) this.#unread = this.#statusBeforeReading(failed(error, "no-config"));
      if (!signal.aborted) log.debug(`the networks cannot be read: ${error.message}`);
    }
    const intervals = Math.max(1, this.#conditions.size / PROBES_PER_INTERVAL);
    if (!signal.aborted) this.#timers.set(ROUND, intervalMs * intervals, () => void this.#round());
  }

  #statusBeforeReading(answer: NetworkAnswer): NetworkStatus {
    const network = this.#options.defaultNetwork;
    const since = this.#clock.date().toISOString();
    return statusOf({ key: NO_DEFAULT, network, file: undefined, answer }, answer, {
      since,
      graceUntil: undefined,
    });
  }

  async #synchronize(signal: AbortSignal): Promise<Catalog> {
    const changes = this.#changes;
    const catalog = await this.#options.source.current(signal);
    // A catalog that the source emitted meanwhile is newer.
    if (this.#changes === changes && !signal.aborted) this.#install(catalog);
    return catalog;
  }

  #onCatalogChange({ catalog, plugins }: CatalogChange): void {
    if (plugins) this.#prober.outdate();
    this.#install(catalog);
    if (plugins) this.#probeAll(this.#conditions.all);
  }

  /** Takes a catalog over, and asks the networks that are new in it or have changed. */
  #install(catalog: Catalog): void {
    this.#changes++;
    if (catalog === this.#catalog) return;
    this.#catalog = catalog;
    const targets = statusTargets(catalog, this.#options.defaultNetwork);
    const { changed, removed } = this.#conditions.replace(targets, this.#remembered);
    for (const [key, condition] of removed) this.#onRemoved(key, condition);
    this.#probeAll(changed);
  }

  #onRemoved(key: string, condition: NetworkCondition): void {
    this.#prober.drop(key);
    this.#timers.cancel(key);
    const wasEmitted = this.#listeners.forget(key);
    this.#writer.schedule();
    if (!wasEmitted || condition.target.list === undefined) return;
    const error = new CniError("not-ready", "its configuration is gone", { network: key });
    const since = this.#clock.date().toISOString();
    this.#listeners.emit({
      ...condition.status(),
      ...failed(error, "no-config"),
      since,
      graceUntil: undefined,
    });
  }

  #probeAll(conditions: readonly NetworkCondition[]): void {
    for (const condition of conditions) void this.#probe(condition);
  }

  async #probe({ target }: NetworkCondition, isUrgent = false): ProbeResult {
    const { key, list, answer } = target;
    if (list === undefined) {
      this.#take(key, answer);
      return undefined;
    }
    const error = await this.#prober.probe(list, isUrgent);
    if (error !== undefined && !this.#stop.signal.aborted) {
      this.#conditions.get(key)?.noteFailedProbe(error);
      this.#options.log.debug(`a network cannot be asked: ${error.message}`, { network: key });
    }
    return error;
  }

  #take(key: string, answer: NetworkAnswer): void {
    const condition = this.#conditions.get(key);
    if (condition === undefined || this.#stop.signal.aborted) return;
    const before = condition.condition;
    const graceMs = condition.take(answer);
    if (graceMs > 0) this.#timers.set(key, graceMs, () => this.#emit(key, condition));
    this.#emit(key, condition);
    if (condition.condition !== before) this.#writer.schedule();
  }

  #emit(key: string, condition: NetworkCondition): void {
    if (this.#conditions.get(key) === condition) this.#listeners.emitIfChanged(key, condition.status());
  }
}
