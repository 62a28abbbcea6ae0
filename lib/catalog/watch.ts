import type { Logger } from "../host/log.ts";
import { PathWatch } from "../host/path_watch.ts";
import type { WatchDirs } from "../host/watch.ts";
import { backoffMs } from "../async/backoff.ts";
import { asCniError, messageOf } from "../errors/to_cni_error.ts";
import { CniError } from "../cni/error.ts";
import type { Catalog } from "./catalog.ts";
import { type CatalogReader, isSameFiles, type ReadCatalog } from "./reader.ts";
import { reportCatalog } from "./report.ts";
import { type CatalogChange, CatalogListeners, type CatalogSource } from "./source.ts";
import { PluginDirs } from "./plugin_dirs.ts";
import { Debouncer } from "../async/debounce.ts";
import { Coalescer } from "../async/coalesce.ts";

/** Options of {@linkcode CatalogWatch.open}. */
export interface CatalogWatchOptions {
  readonly reader: CatalogReader;
  readonly pluginDirs: readonly string[];
  readonly log: Logger;
  /** How long is waited for further events, in milliseconds. @default {200} */
  readonly gatherMs?: number | undefined;
  /** How often everything is looked at without an event, in milliseconds. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** @default {watchDirs} */
  readonly watch?: WatchDirs | undefined;
}

/** Where events never cease, they are not waited for longer than so many times `gatherMs`. */
const LONGEST_GATHERING = 5;
/** A reading can show that more has to be watched, and then has to be done again. */
const MOST_ROUNDS = 4;

/** A watch that ends after that did not end for the reason of the one before. */
const SOUND_AFTER_MS = 60_000;

/**
 * Keeps the catalogue of a directory up to date: by events of the kernel, gathered, and by looking now and then, since
 * events can be lost. Nothing is made in order to be watched; what is not there yet is watched through the directories
 * above it.
 */
export class CatalogWatch implements CatalogSource {
  readonly #options: CatalogWatchOptions;
  readonly #listeners: CatalogListeners;
  readonly #plugins: PluginDirs;
  readonly #schedule: Debouncer;
  readonly #watch: PathWatch;
  readonly #closed = new AbortController();
  readonly #readings: Coalescer<ReadCatalog>;
  #failures = 0;
  #watchedSince = performance.now();
  /** Of `performance.now()`, which does not jump. */
  #watchAgainAt = 0;
  #catalog: Catalog | undefined;
  /** Whether nothing but time is the cause of the next reading. */
  #isUnprompted = false;

  private constructor(options: CatalogWatchOptions) {
    const { log, gatherMs = 200, pollMs = 10_000, pluginDirs, watch } = options;
    this.#options = options;
    this.#listeners = new CatalogListeners(log);
    this.#plugins = new PluginDirs(pluginDirs);
    this.#readings = new Coalescer(() => this.#read());
    this.#schedule = new Debouncer({
      gatherMs,
      longestMs: LONGEST_GATHERING * gatherMs,
      pollMs,
      due: (byEvent) => {
        this.#isUnprompted = !byEvent;
        return this.#readings.next();
      },
      failed: (error) => {
        if (!this.#closed.signal.aborted) {
          log.error(`the configuration cannot be reloaded: ${messageOf(error)}`);
        }
      },
    });
    this.#watch = new PathWatch({
      changed: () => this.#schedule.hurry(),
      failed: (error) => this.#rest(error),
      ...(watch === undefined ? {} : { watch }),
    });
  }

  /**
   * Begins to watch, then reads. A directory that cannot be read is no error: it may be readable later.
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
    if (this.#closed.signal.aborted) throw new CniError("cancelled", "the catalogue is closed");
    const { catalog, failure } = await this.#readings.next(signal);
    if (failure !== undefined) throw failure;
    return catalog;
  }

  onChange(listener: (change: CatalogChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    this.#schedule[Symbol.dispose]();
    this.#watch[Symbol.dispose]();
    await this.#readings.idle();
  }

  async #read(): Promise<ReadCatalog> {
    const { signal } = this.#closed;
    this.#schedule.begin();
    const before = this.#catalog;
    const isUnprompted = this.#isUnprompted;
    this.#isUnprompted = false;
    // What changes from here on is heard.
    await this.#cover();
    let outcome = await this.#options.reader.attempt(signal);
    if (isUnprompted && before !== undefined && !isSameFiles(before.content, outcome.catalog.content)) {
      // Somebody should have told of that.
      this.#watch.reset();
    }
    for (let round = 1; await this.#cover() && round < MOST_ROUNDS; round++) {
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
    if (before !== undefined && (networks || plugins)) this.#listeners.tell({ catalog, networks, plugins });
  }

  /** Whether the watch had to be made anew. */
  async #cover(): Promise<boolean> {
    if (this.#closed.signal.aborted || performance.now() < this.#watchAgainAt) return false;
    try {
      const { paths } = this.#options.reader;
      const isNew = await this.#watch.cover([...paths, ...this.#plugins.pathsFor(this.#types())]);
      if (isNew) this.#watchedSince = performance.now();
      return isNew;
    } catch (error) {
      this.#rest(error);
      return false;
    }
  }

  /** Polling goes on meanwhile. */
  #rest(error: unknown): void {
    if (performance.now() - this.#watchedSince > SOUND_AFTER_MS) this.#failures = 0;
    const ms = backoffMs(++this.#failures);
    this.#watchAgainAt = performance.now() + ms;
    this.#schedule.within(ms);
    const { msg } = asCniError(error);
    this.#options.log.warn(
      `the configuration cannot be watched, so it is only looked at now and then: ${msg}`,
    );
  }

  #types(): ReadonlySet<string> {
    const lists = this.#options.reader.former?.lists ?? [];
    return new Set(lists.flatMap(({ plugins }) => plugins.map(({ type }) => type)));
  }
}
