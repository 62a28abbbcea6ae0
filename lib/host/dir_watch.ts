import { resolve } from "@std/path/posix";

/** The functions that a watch calls. */
export interface WatchListener {
  /**
   * Something was made, changed or removed at these paths; if the list is empty, anything may have changed. One change may
   * be reported several times, so only the present state of the paths counts.
   */
  readonly changed: (paths: readonly string[]) => void;
  /** There are no more reports, because watching or `changed` failed. */
  readonly failed: (error: unknown) => void;
}

/** Deno 2.7 queues this many events for a busy reader, and silently drops the next ones. */
const KEPT_EVENTS = 16;

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
    this.#reading = this.#read(this.#watcher);
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
    try {
      this.#watcher?.close();
    } catch (error) {
      // If reading failed, it is closed already.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    this.#watcher = undefined;
    return this.#reading;
  }

  async #read(watcher: Deno.FsWatcher): Promise<void> {
    let count = 0;
    try {
      for await (const { kind, paths, flag } of watcher) {
        // Deno 2.9 reports dropped events itself. With 2.7 the queue is full when one is dropped, so at least that many are
        // read afterwards. The time until they are read proves nothing: a busy machine may be slow.
        if (flag === "rescan" || ++count % KEPT_EVENTS === 0) this.#notifyAll([]);
        else if (paths.length === 0 || kind !== "access" && paths.some((path) => this.#holds(path))) {
          this.#notifyAll(paths);
        }
      }
    } catch (error) {
      if (watcher === this.#watcher) void this.#close();
      for (const listener of [...this.#listeners]) this.#fail(listener, error);
    }
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
