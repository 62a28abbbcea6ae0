import { resolve } from "@std/path/posix";

/** What a watch calls. */
export interface WatchListener {
  /**
   * Something was made, changed or removed at these paths; where there are none, anything may have changed. One change
   * may be told several times, so what counts is what is there when one looks.
   */
  readonly changed: (paths: readonly string[]) => void;
  /** Nothing more will be told, because watching or `changed` failed. */
  readonly failed: (error: unknown) => void;
}

/** Deno 2.7 keeps so many events for a reader that is busy and drops those that come then without a word. */
const KEPT_EVENTS = 16;

/** The watches of this process. */
const watches = new Map<string, DirWatch>();

/**
 * Watches what is at `dir` now, until disposed of. Requires `--allow-read`.
 *
 * All who watch a directory share one watch, which is made anew for each of them: Deno 2.9 counts the watches of a
 * path, and only the first one reaches the kernel. Beside a watch of a directory that is gone, one of the directory in
 * its place would hear nothing.
 *
 * @throws {Deno.errors.NotFound} If it is not there.
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
  /** Resolves when Deno has let go of the last watcher. */
  #reading: Promise<void> = Promise.resolve();
  /** Watchers are made and given up one after another. */
  #turn: Promise<void> = Promise.resolve();

  constructor(dir: string, recursive: boolean, forget: () => void) {
    this.#dir = dir;
    this.#recursive = recursive;
    this.#forget = forget;
  }

  async add({ changed, failed }: WatchListener): Promise<Disposable> {
    // Its own object: the same listener may be added twice.
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
        // That the directory went is a change like any other.
        if (error instanceof Deno.errors.NotFound) this.#tell(other, [this.#dir]);
        else this.#fail(other, error);
      }
      throw error;
    }
    this.#reading = this.#read(this.#watcher);
    // Between the two watchers something may have gone unheard.
    for (const other of others) this.#tell(other, []);
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
      // It is closed already where reading it failed.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    this.#watcher = undefined;
    return this.#reading;
  }

  async #read(watcher: Deno.FsWatcher): Promise<void> {
    let count = 0;
    try {
      for await (const { kind, paths, flag } of watcher) {
        // Deno 2.9 says itself that it dropped some. With 2.7, when one is dropped, as many as are kept have yet to be
        // read. How soon they are read tells nothing: a busy machine may take its time.
        if (flag === "rescan" || ++count % KEPT_EVENTS === 0) this.#tellAll([]);
        else if (paths.length === 0 || kind !== "access" && paths.some((path) => this.#holds(path))) {
          this.#tellAll(paths);
        }
      }
    } catch (error) {
      if (watcher === this.#watcher) void this.#close();
      for (const listener of [...this.#listeners]) this.#fail(listener, error);
    }
  }

  /** Deno tells each watcher also of what happens below its directory, or is removed elsewhere, where others look. */
  #holds(path: string): boolean {
    const dir = this.#dir === "/" ? "" : this.#dir;
    if (!path.startsWith(`${dir}/`)) return path === dir;
    return this.#recursive || !path.includes("/", dir.length + 1);
  }

  #tellAll(paths: readonly string[]): void {
    for (const listener of [...this.#listeners]) this.#tell(listener, paths);
  }

  #tell(listener: WatchListener, paths: readonly string[]): void {
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
