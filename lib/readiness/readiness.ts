import type { CallOptions } from "../async/call_options.ts";
import { type Clock, systemClock } from "../async/clock.ts";
import type { Logger } from "../host/log.ts";
import { failed, type NetworkAnswer, type NetworkStatus } from "./status.ts";
import { asCniError, messageOf } from "../errors/to_cni_error.ts";
import { CniError } from "../cni/error.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogChange, CatalogSource } from "../catalog/source.ts";
import { Prober, type ProbeResult } from "./prober.ts";
import type { ReadinessMemory } from "./memory.ts";
import type { ReadyCondition } from "./condition.ts";
import type { ProbeNetwork } from "./status_check.ts";
import { NO_DEFAULT, statusOf, statusTargets } from "./status_target.ts";
import { NetworkCondition, PENDING } from "./network_condition.ts";
import { abortable, settled } from "../async/wait.ts";

/** What {@linkcode Readiness} works with. */
export interface ReadinessOptions {
  readonly source: CatalogSource;
  /** Asks the plugins of a network; ends soon after its signal fires. */
  readonly ask: ProbeNetwork;
  /** Since when networks stand as they do, from an earlier process. */
  readonly memory?: ReadinessMemory | undefined;
  readonly defaultNetwork?: string | undefined;
  /** How long a network that was ready and fails still counts as ready. @default {30_000} */
  readonly graceMs?: number | undefined;
  /** How often all are asked, unless there are more than a hundred. @default {10_000} */
  readonly intervalMs?: number | undefined;
  readonly log: Logger;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

/** Each is a process or more: ten a second, with the usual interval. */
const ASKED_AN_INTERVAL = 100;

/** A plugin that was told to end is killed 2 s later; nobody waits much longer for it. */
const LONGEST_FAREWELL_MS = 3_000;

/**
 * Knows whether the networks of a catalogue are ready, so that whoever asks has the answer at once. The plugins are
 * asked in the background: at the start, after each change of the catalogue or of a plugin directory, and every ten
 * seconds, or more seldom where they are so many that asking alone would keep the machine busy.
 *
 * A network that was ready and now fails counts as ready for a time of grace, in which its status says why it fails. One
 * whose configuration was taken away has none, nor has one that was not ready yet since this began.
 */
export class Readiness implements AsyncDisposable {
  readonly #options: ReadinessOptions;
  readonly #clock: Clock;
  readonly #questions: Prober;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<(status: NetworkStatus) => void>();
  readonly #timers = new Map<string, Disposable>();
  /** What was told of each network last. */
  readonly #told = new Map<string, string>();
  #subscription: Disposable | undefined;
  #catalog: Catalog | undefined;
  /** How often the catalogue was taken over. */
  #changes = 0;
  #watched: ReadonlyMap<string, NetworkCondition> = new Map();
  /** What there is to say as long as no catalogue could be read. */
  #unread: NetworkStatus;
  #remembered: ReadonlyMap<string, ReadyCondition> = new Map();
  /** Whoever asks at once must not make what is remembered new. */
  #recalled: Promise<void> = Promise.resolve();
  #begun: Promise<void> = Promise.resolve();
  #writing: Promise<unknown> = Promise.resolve();
  #isWriteDue = false;
  #closing: Promise<void> | undefined;

  private constructor(options: ReadinessOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#unread = this.#beforeReading(PENDING);
    const onAnswer = (network: string, answer: NetworkAnswer) => this.#take(network, answer);
    this.#questions = new Prober({ ask: options.ask, onAnswer });
  }

  /** Begins to ask, in the background. */
  static start(options: ReadinessOptions): Readiness {
    const readiness = new Readiness(options);
    readiness.#recalled = readiness.#recall();
    readiness.#begun = readiness.#begin();
    return readiness;
  }

  /** Ends when the catalogue has been read for the first time, or could not be; nobody's answer is waited for. */
  get begun(): Promise<void> {
    return this.#begun;
  }

  /**
   * How all networks are, or those of that name, as far as is known: nothing is waited for. Of a name that is not in the
   * catalogue there is none. Before a catalogue has been read there is one status, which stands for all.
   */
  statuses(name?: string): readonly NetworkStatus[] {
    if (this.#catalog === undefined) return [{ ...this.#unread, network: name ?? this.#unread.network }];
    const statuses = [...this.#watched.values()].map((watched) => watched.status());
    return name === undefined ? statuses : statuses.filter(({ network }) => network === name);
  }

  /**
   * As {@linkcode Readiness.statuses}; where that is asked for, and of a name that is not known, as
   * {@linkcode Readiness.refresh}: it may have been added a moment ago, or is the error to tell.
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
   * Asks all networks, or that one, and gives what they answered. A question that is under way is waited for and not put
   * again.
   *
   * @throws {CniError} kind `not-found`; what the signal says; or why a network could not be asked
   */
  async refresh(name?: string, signal?: AbortSignal): Promise<readonly NetworkStatus[]> {
    const either = AbortSignal.any([this.#stop.signal, ...(signal === undefined ? [] : [signal])]);
    either.throwIfAborted();
    await abortable(this.#recalled, either);
    const catalog = await abortable(this.#synchronise(either), either);
    if (name !== undefined && this.statuses(name).length === 0) catalog.asCnitool(name);
    const asked = [...this.#watched.values()].filter(({ subject }) =>
      name === undefined || subject.network === name
    );
    const put = asked.map((watched) => this.#ask(watched, name !== undefined));
    for (const error of await abortable(Promise.all(put), either)) if (error !== undefined) throw error;
    return this.statuses(name);
  }

  /**
   * Calls `listener` whenever a network becomes ready or ceases to be, or fails for another reason, until disposed of.
   * One that is not in the catalogue any more is told of as `no-config`.
   */
  onChange(listener: (status: NetworkStatus) => void): Disposable {
    // Not the function itself, which may be given twice.
    const own = (status: NetworkStatus) => listener(status);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  /** Asks no more, and ends the plugins that are being asked. What is known stays to be read. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#stop.abort(new CniError("cancelled", "the networks are not watched any more"));
    this.#subscription?.[Symbol.dispose]();
    for (const timer of this.#timers.values()) timer[Symbol.dispose]();
    this.#timers.clear();
    this.#listeners.clear();
    await settled(Promise.all([this.#questions.close(), this.#writing]), LONGEST_FAREWELL_MS);
  }

  async #recall(): Promise<void> {
    this.#remembered = await this.#options.memory?.read() ?? new Map();
  }

  async #begin(): Promise<void> {
    await this.#recalled;
    if (this.#stop.signal.aborted) return;
    this.#subscription = this.#options.source.onChange((change) => this.#changed(change));
    await this.#round();
  }

  /** Asks all, and again after the interval. */
  async #round(): Promise<void> {
    const { signal } = this.#stop;
    const { intervalMs = 10_000, log } = this.#options;
    try {
      await this.#synchronise(signal);
      for (const watched of this.#watched.values()) void this.#ask(watched);
    } catch (cause) {
      const error = asCniError(cause);
      if (this.#catalog === undefined) this.#unread = this.#beforeReading(failed(error, "no-config"));
      if (!signal.aborted) log.debug(`the networks cannot be read: ${error.message}`);
    }
    const rounds = Math.max(1, this.#watched.size / ASKED_AN_INTERVAL);
    if (!signal.aborted) this.#after(ROUND, intervalMs * rounds, () => void this.#round());
  }

  /** In the place of what the key stood for. */
  #after(key: string, ms: number, callback: () => void): void {
    this.#timers.get(key)?.[Symbol.dispose]();
    this.#timers.set(key, this.#clock.after(ms, callback));
  }

  #beforeReading(answer: NetworkAnswer): NetworkStatus {
    const network = this.#options.defaultNetwork;
    const since = this.#clock.date().toISOString();
    return statusOf({ key: NO_DEFAULT, network, file: undefined, answer }, answer, {
      since,
      graceUntil: undefined,
    });
  }

  async #synchronise(signal: AbortSignal): Promise<Catalog> {
    const changes = this.#changes;
    const catalog = await this.#options.source.current(signal);
    // What was told meanwhile is newer.
    if (this.#changes === changes && !signal.aborted) this.#install(catalog);
    return catalog;
  }

  #changed({ catalog, plugins }: CatalogChange): void {
    if (plugins) this.#questions.outdate();
    this.#install(catalog);
    if (plugins) { for (const watched of this.#watched.values()) void this.#ask(watched); }
  }

  /** Takes a catalogue over, and asks the networks that are new in it or have changed. */
  #install(catalog: Catalog): void {
    this.#changes++;
    if (catalog === this.#catalog) return;
    this.#catalog = catalog;
    const { graceMs = 30_000, defaultNetwork } = this.#options;
    const before = this.#watched;
    const judgement = { clock: this.#clock, graceMs };
    const changed: NetworkCondition[] = [];
    this.#watched = new Map(
      statusTargets(catalog, defaultNetwork).map((subject) => {
        const { key } = subject;
        const known = before.get(key);
        const watched = known ?? new NetworkCondition(subject, judgement, this.#remembered.get(key));
        if (known === undefined || known.become(subject)) changed.push(watched);
        return [key, watched];
      }),
    );
    for (const [key, watched] of before) if (!this.#watched.has(key)) this.#vanished(key, watched);
    for (const watched of changed) void this.#ask(watched);
  }

  #vanished(key: string, watched: NetworkCondition): void {
    this.#questions.drop(key);
    this.#timers.get(key)?.[Symbol.dispose]();
    this.#timers.delete(key);
    const wasTold = this.#told.delete(key);
    this.#remember();
    if (!wasTold || watched.subject.list === undefined) return;
    const error = new CniError("not-ready", "its configuration is gone", { network: key });
    const since = this.#clock.date().toISOString();
    this.#tell({ ...watched.status(), ...failed(error, "no-config"), since, graceUntil: undefined });
  }

  async #ask({ subject }: NetworkCondition, isUrgent = false): ProbeResult {
    const { key, list, answer } = subject;
    if (list === undefined) {
      this.#take(key, answer);
      return undefined;
    }
    const error = await this.#questions.ask(list, isUrgent);
    if (error !== undefined && !this.#stop.signal.aborted) {
      this.#watched.get(key)?.miss(error);
      this.#options.log.debug(`a network cannot be asked: ${error.message}`, { network: key });
    }
    return error;
  }

  #take(key: string, answer: NetworkAnswer): void {
    const watched = this.#watched.get(key);
    if (watched === undefined || this.#stop.signal.aborted) return;
    const before = watched.standing;
    const graceMs = watched.take(answer);
    if (graceMs > 0) this.#after(key, graceMs, () => this.#announce(key, watched));
    this.#announce(key, watched);
    if (watched.standing !== before) this.#remember();
  }

  #announce(key: string, watched: NetworkCondition): void {
    const status = watched.status();
    const words = `${status.ready} ${status.reason}`;
    if (this.#watched.get(key) !== watched || this.#told.get(key) === words) return;
    this.#told.set(key, words);
    this.#tell(status);
  }

  #tell(status: NetworkStatus): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(status);
      } catch (error) {
        this.#options.log.error(`a listener of network statuses failed: ${messageOf(error)}`);
      }
    }
  }

  /** Once for all that changes in one go, and never twice at the same time. */
  #remember(): void {
    const { memory } = this.#options;
    if (memory === undefined || this.#isWriteDue) return;
    this.#isWriteDue = true;
    this.#writing = this.#writing.then(() => {
      this.#isWriteDue = false;
      const known = [...this.#watched].flatMap(([key, { standing }]) =>
        standing === undefined ? [] : [[key, standing] as const]
      );
      return memory.write({ standings: new Map(known), all: true, mends: true });
    });
  }
}

/** The key of the timer of the rounds, which no network and no path is called. */
const ROUND = "(round)";
