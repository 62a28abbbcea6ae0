import { resolve } from "@std/path/posix";
import { delay } from "../async/wait.ts";
import { denoRules } from "./deno_rules.ts";

/** The functions that a watch calls. */
export interface WatchListener {
  /**
   * Something was made, changed or removed at these paths; if the list is empty, anything may have changed. One change may
   * be reported several times, so only the present state of the paths counts. After many events within a moment the next ones
   * are reported together, a moment later.
   */
  readonly changed: (paths: readonly string[]) => void;
  /** There are no more reports, because watching or `changed` failed. */
  readonly failed: (error: unknown) => void;
}

/** Deno 2.7 queues this many events for a busy reader, and silently drops the next ones. */
const KEPT_EVENTS = 16;

/** So many events are handled in this time; then the watch pauses for as long, whatever happens. */
const MOST_EVENTS = 96;
const PAUSE_MS = 150;

/** The watches of this process. */
const watches = new Map<string, DirWatch>();

/**
 * Watches what is at `dir` now, until disposed of. Requires `--allow-read`.
 *
 * All listeners of a directory share one watch, which is made again for each new one: Deno 2.9 counts the watches of a
 * path, and only the first one reaches the kernel. If that one is of a directory that is gone, a second one, of the
 * directory in its place, would get no events.
 *
 * @throws {Deno.errors.NotFound} If the directory does not exist.
 *
 * @example
 * ```ts
 * import { watchDir } from "./dir_watch.ts";
 *
 * using _watch = await watchDir("/tmp", false, { changed: (paths) => console.log(paths), failed: console.error });
 * ```
 */
export async function watchDir(
  dir: string,
  recursive: boolean,
  listener: WatchListener,
): Promise<Disposable> {
  const path = resolve(dir);
  const key = `${recursive} ${path}`;
  const watch = watches.get(key) ?? new DirWatch(path, recursive, () => watches.delete(key));
  watches.set(key, watch);
  return await watch.add(listener);
}

class DirWatch {
  readonly #listeners = new Set<WatchListener>();
  readonly #forget: () => void;
  readonly #dir: string;
  readonly #recursive: boolean;
  #watcher: Deno.FsWatcher | undefined;
  /** How many events were read. */
  #count = 0;
  /** Fires when the watcher is closed, also while it pauses. */
  #closing = new AbortController();
  /** Resolves when Deno has released the last watcher. */
  #reading: Promise<void> = Promise.resolve();
  /** Watchers are opened and closed one after another. */
  #turn: Promise<void> = Promise.resolve();

  constructor(dir: string, recursive: boolean, forget: () => void) {
    this.#dir = dir;
    this.#recursive = recursive;
    this.#forget = forget;
  }

  async add({ changed, failed }: WatchListener): Promise<Disposable> {
    // A copy, because the same listener may be added twice.
    const listener = { changed, failed };
    this.#listeners.add(listener);
    const opened = this.#turn.then(() => this.#open(listener));
    this.#turn = opened.catch(() => {});
    try {
      await opened;
    } catch (error) {
      this.#remove(listener);
      throw error;
    }
    return { [Symbol.dispose]: () => this.#remove(listener) };
  }

  async #open(listener: WatchListener): Promise<void> {
    await this.#close();
    if (!this.#listeners.has(listener)) return;
    const others = [...this.#listeners].filter((other) => other !== listener);
    try {
      this.#watcher = Deno.watchFs(this.#dir, { recursive: this.#recursive });
    } catch (error) {
      for (const other of others) {
        // The removal of the directory is a change like any other.
        if (error instanceof Deno.errors.NotFound) this.#notify(other, [this.#dir]);
        else this.#fail(other, error);
      }
      throw error;
    }
    this.#closing = new AbortController();
    this.#reading = this.#read(this.#watcher, this.#closing.signal);
    // Between the two watchers an event may have been missed.
    for (const other of others) this.#notify(other, []);
  }

  #remove(listener: WatchListener): void {
    if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return;
    const closed = this.#close();
    this.#turn = this.#turn.then(async () => {
      await closed;
      if (this.#listeners.size === 0) this.#forget();
    });
  }

  #close(): Promise<void> {
    this.#closing.abort();
    if (this.#watcher !== undefined) closeWatcher(this.#watcher);
    this.#watcher = undefined;
    return this.#reading;
  }

  async #read(watcher: Deno.FsWatcher, closing: AbortSignal): Promise<void> {
    try {
      for (let current: Deno.FsWatcher | undefined = watcher; current !== undefined;) {
        const isFlood = await this.#readUntilFlood(current);
        current = isFlood ? await this.#pause(current, closing) : undefined;
      }
    } catch (error) {
      if (!closing.aborted) void this.#close();
      for (const listener of [...this.#listeners]) this.#fail(listener, error);
    }
  }

  /** Returns whether it ends because of too many events. */
  async #readUntilFlood(watcher: Deno.FsWatcher): Promise<boolean> {
    const events = watcher[Symbol.asyncIterator]();
    let begin = performance.now();
    for (let count = 0; count < MOST_EVENTS;) {
      // `for await` would close the watcher at the end.
      const { done, value } = await events.next();
      if (done) return false;
      const { kind, paths, flag } = value;
      // Deno 2.9 reports dropped events itself. With 2.7 the queue is full when one is dropped, so at least that many are
      // read afterwards. The time until they are read proves nothing: a busy machine may be slow.
      if (flag === "rescan" || ++this.#count % KEPT_EVENTS === 0) this.#notifyAll([]);
      else if (paths.length === 0 || kind !== "access" && paths.some((path) => this.#holds(path))) {
        this.#notifyAll(paths);
      }
      count++;
      if (performance.now() - begin < PAUSE_MS) continue;
      begin = performance.now();
      count = 0;
    }
    return true;
  }

  /**
   * Lets a flood of events pass. Returns the watcher to go on with; undefined if there is none.
   *
   * Deno 2.7 drops what does not fit in its queue; with a closed watcher it would go on to get the events from the kernel, and
   * compare each one with this watcher too. Newer ones then get none.
   */
  async #pause(watcher: Deno.FsWatcher, closing: AbortSignal): Promise<Deno.FsWatcher | undefined> {
    const { watchesEnd } = denoRules();
    if (watchesEnd) closeWatcher(watcher);
    await delay(PAUSE_MS, closing).catch(() => {});
    if (closing.aborted) return undefined;
    try {
      if (watchesEnd) this.#watcher = Deno.watchFs(this.#dir, { recursive: this.#recursive });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      this.#notifyAll([this.#dir]);
      return undefined;
    }
    this.#notifyAll([]);
    return closing.aborted ? undefined : this.#watcher;
  }

  /** Deno also reports to each watcher what happens below its directory, and removals in directories of other watchers. */
  #holds(path: string): boolean {
    const dir = this.#dir === "/" ? "" : this.#dir;
    if (!path.startsWith(`${dir}/`)) return path === dir;
    return this.#recursive || !path.includes("/", dir.length + 1);
  }

  #notifyAll(paths: readonly string[]): void {
    for (const listener of [...this.#listeners]) this.#notify(listener, paths);
  }

  #notify(listener: WatchListener, paths: readonly string[]): void {
    if (!this.#listeners.has(listener)) return;
    try {
      listener.changed(paths);
    } catch (error) {
      this.#fail(listener, error);
    }
  }

  #fail(listener: WatchListener, error: unknown): void {
    this.#remove(listener);
    listener.failed(error);
  }
}

function closeWatcher(watcher: Deno.FsWatcher): void {
  try {
    watcher.close();
  } catch (error) {
    // If reading failed, it is closed already.
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
