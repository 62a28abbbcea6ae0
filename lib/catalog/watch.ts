import { backoffMs } from "../async/backoff.ts";
import { Coalescer } from "../async/coalesce.ts";
import { Debouncer } from "../async/debounce.ts";
import { CniError } from "../cni/error.ts";
import { asCniError, messageOf } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import { PathWatch } from "../host/path_watch.ts";
import type { WatchDirs } from "../host/watch.ts";
import type { Catalog } from "./catalog.ts";
import { PluginDirs } from "./plugin_dirs.ts";
import { type CatalogReader, isSameFiles, type ReadCatalog } from "./reader.ts";
import { reportCatalog } from "./report.ts";
import { type CatalogChange, CatalogListeners, type CatalogSource } from "./source.ts";

/** Options of {@linkcode CatalogWatch.open}. */
export interface CatalogWatchOptions {
  readonly reader: CatalogReader;
  readonly pluginDirs: readonly string[];
  readonly log: Logger;
  /** How long it waits for further events, in milliseconds. @default {200} */
  readonly gatherMs?: number | undefined;
  /** How often everything is checked without an event, in milliseconds. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** @default {watchDirs} */
  readonly watch?: WatchDirs | undefined;
}

/** If events never stop, the wait for further events ends after this many times `gatherMs`. */
const MAX_GATHERINGS = 5;
/** A reading can find further paths to watch, and then has to be repeated. */
const MAX_ROUNDS = 4;

/** A watch that worked for this long did not fail for the reason of the previous failure. */
const RESET_FAILURES_AFTER_MS = 60_000;

/**
 * Keeps the catalog of a directory up to date by events of the kernel. It also polls, because events can be lost. It creates
 * nothing in order to watch it: it looks from time to time whether a path exists that did not.
 */
export class CatalogWatch implements CatalogSource {
  readonly #options: CatalogWatchOptions;
  readonly #listeners: CatalogListeners;
  readonly #plugins: PluginDirs;
  readonly #debouncer: Debouncer;
  readonly #watch: PathWatch;
  readonly #closed = new AbortController();
  readonly #readings: Coalescer<ReadCatalog>;
  #failures = 0;
  #watchedSince = performance.now();
  /** By `performance.now()`, which does not jump. */
  #watchAgainAt = 0;
  #catalog: Catalog | undefined;
  /** Whether the next reading is caused by the poll interval, not by an event. */
  #isPoll = false;

  private constructor(options: CatalogWatchOptions) {
    const { log, gatherMs = 200, pollMs = 10_000, pluginDirs, watch } = options;
    this.#options = options;
    this.#listeners = new CatalogListeners(log);
    this.#plugins = new PluginDirs(pluginDirs);
    this.#readings = new Coalescer(() => this.#read());
    this.#debouncer = new Debouncer({
      gatherMs,
      longestMs: MAX_GATHERINGS * gatherMs,
      pollMs,
      due: (byEvent) => {
        this.#isPoll = !byEvent;
        return this.#readings.next();
      },
      failed: (error) => {
        if (!this.#closed.signal.aborted) {
          log.error(`the configuration cannot be reloaded: ${messageOf(error)}`);
        }
      },
    });
    this.#watch = new PathWatch({
      changed: () => this.#debouncer.hurry(),
      failed: (error) => this.#pauseWatching(error),
      watch,
    });
  }

  /**
   * Starts to watch, then reads. A directory that cannot be read is not an error: it may be readable later.
   *
   * @throws the reason of `signal`
   */
  static async open(options: CatalogWatchOptions, signal?: AbortSignal): Promise<CatalogWatch> {
    const source = new CatalogWatch(options);
    try {
      await source.#readings.next(signal);
      return source;
    } catch (error) {
      await source[Symbol.asyncDispose]();
      throw error;
    }
  }

  current(signal?: AbortSignal): Promise<Catalog> {
    return signal?.aborted ? Promise.reject(signal.reason) : Promise.resolve(this.#catalog as Catalog);
  }

  async reload(signal?: AbortSignal): Promise<Catalog> {
    if (this.#closed.signal.aborted) throw new CniError("cancelled", "the catalog is closed");
    const { catalog, failure } = await this.#readings.next(signal);
    if (failure !== undefined) throw failure;
    return catalog;
  }

  onChange(listener: (change: CatalogChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    this.#debouncer[Symbol.dispose]();
    await this.#watch[Symbol.asyncDispose]();
    await this.#readings.idle();
  }

  async #read(): Promise<ReadCatalog> {
    const { signal } = this.#closed;
    this.#debouncer.begin();
    const before = this.#catalog;
    const isPoll = this.#isPoll;
    this.#isPoll = false;
    // Changes from here on cause events.
    await this.#cover();
    let outcome = await this.#options.reader.attempt(signal);
    if (isPoll && before !== undefined && !isSameFiles(before.content, outcome.catalog.content)) {
      // There should have been an event for this change.
      this.#watch.reset();
    }
    for (let round = 1; await this.#cover() && round < MAX_ROUNDS; round++) {
      outcome = await this.#options.reader.attempt(signal);
    }
    const plugins = await this.#plugins.haveChanged(this.#types());
    signal.throwIfAborted();
    this.#swap(before, outcome.catalog, plugins);
    return outcome;
  }

  #swap(before: Catalog | undefined, catalog: Catalog, plugins: boolean): void {
    this.#catalog = catalog;
    reportCatalog(this.#options.log, before, catalog, true);
    const networks = catalog !== before;
    if (before !== undefined && (networks || plugins)) this.#listeners.emit({ catalog, networks, plugins });
  }

  /** Watches all paths. Returns whether the watch had to be made again. */
  async #cover(): Promise<boolean> {
    if (this.#closed.signal.aborted || performance.now() < this.#watchAgainAt) return false;
    try {
      const { paths } = this.#options.reader;
      const plugins = this.#plugins.pathsFor(this.#types());
      const isNew = await this.#watch.cover([...paths, ...plugins.map((path) => ({ path }))]);
      if (isNew) this.#watchedSince = performance.now();
      return isNew;
    } catch (error) {
      this.#pauseWatching(error);
      return false;
    }
  }

  /** Handles a failed watch: it is made again after a while, and polling goes on meanwhile. */
  #pauseWatching(error: unknown): void {
    if (performance.now() - this.#watchedSince > RESET_FAILURES_AFTER_MS) this.#failures = 0;
    const ms = backoffMs(++this.#failures);
    this.#watchAgainAt = performance.now() + ms;
    this.#debouncer.within(ms);
    const { msg } = asCniError(error);
    this.#options.log.warn(
      `the configuration cannot be watched, so it is only polled: ${msg}`,
    );
  }

  #types(): ReadonlySet<string> {
    const lists = this.#options.reader.current?.lists ?? [];
    return new Set(lists.flatMap(({ plugins }) => plugins.map(({ type }) => type)));
  }
}
