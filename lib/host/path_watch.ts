import { type WatchDirs, watchDirs, watchedPaths } from "./watch.ts";

/** Options of {@linkcode PathWatch}. */
export interface PathWatchOptions {
  /** Called if something may have changed. */
  readonly changed: () => void;
  /** Called if the watch ended; {@linkcode PathWatch.cover} makes another. */
  readonly failed: (error: unknown) => void;
  /** @default {watchDirs} */
  readonly watch?: WatchDirs | undefined;
}

const MOST_ATTEMPTS = 5;

/** A watch on some directories, with the identity of each. */
interface PartialWatch {
  /** Undefined while the watch is being made. */
  handle: Disposable | undefined;
  /** Without directories that it no longer watches. */
  readonly dirs: Map<string, string>;
}

/** Reports changes of paths, whether or not they exist, also after they are replaced. */
export class PathWatch implements Disposable {
  readonly #options: PathWatchOptions;
  /**
   * New directories get a watch of their own next to the existing ones: Deno never fully forgets a watch, and each one
   * makes every event more expensive.
   */
  readonly #watches = new Set<PartialWatch>();
  #concerns: (path: string) => boolean = () => true;
  #disposed = false;

  constructor(options: PathWatchOptions) {
    this.#options = options;
  }

  /** Ends all watches, so that the next {@linkcode PathWatch.cover} makes new ones: a change was missed. */
  reset(): void {
    this.#end();
  }

  /**
   * Adapts the watch to what these paths need now. Returns whether directories were added: changes in those may have been
   * missed before. Only one call may run at a time.
   *
   * Requires `--allow-read`; directories without that permission are not watched.
   *
   * @throws if directories cannot be watched; the others are
   */
  async cover(paths: readonly string[]): Promise<boolean> {
    for (let attempt = 1; !this.#disposed; attempt++) {
      const { dirs, concerns } = await watchedPaths(paths);
      if (this.#disposed) break;
      this.#concerns = concerns;
      this.#forgetAllBut(dirs);
      const lacking = new Map([...dirs].filter(([dir, id]) => !this.#has(dir, id)));
      if (lacking.size === 0 || attempt > MOST_ATTEMPTS) return attempt > 1;
      // The next round finds a directory that is replaced before its watch exists.
      await this.#add(lacking, attempt);
    }
    return false;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#end();
  }

  #has(dir: string, id: string): boolean {
    return [...this.#watches].some(({ dirs }) => dirs.get(dir) === id);
  }

  #forgetAllBut(wanted: ReadonlyMap<string, string>): void {
    for (const part of this.#watches) {
      if ([...part.dirs].some(([dir, id]) => wanted.get(dir) === id)) continue;
      this.#watches.delete(part);
      part.handle?.[Symbol.dispose]();
    }
  }

  #report(paths: readonly string[]): void {
    // If a watched directory is removed, Deno also forgets the watch of the one in its place, and of all directories below
    // it.
    for (const path of paths) this.#forget(path);
    if (paths.length === 0 || paths.some(this.#concerns)) this.#options.changed();
  }

  #forget(path: string): void {
    for (const { dirs } of this.#watches) {
      if (!dirs.has(path)) continue;
      for (const dir of [...dirs.keys()]) if (dir === path || dir.startsWith(`${path}/`)) dirs.delete(dir);
    }
  }

  async #add(dirs: Map<string, string>, attempt: number): Promise<void> {
    const { failed, watch = watchDirs } = this.#options;
    // Added before it is made: one directory may be removed while the others are not watched yet.
    const part: PartialWatch = { handle: undefined, dirs };
    this.#watches.add(part);
    const isCurrent = () => this.#watches.has(part);
    try {
      part.handle = await watch([...dirs.keys()], {
        changed: (paths) => {
          if (isCurrent()) this.#report(paths);
        },
        failed: (error) => {
          if (!isCurrent()) return;
          this.#end();
          failed(error);
        },
      });
      if (!isCurrent()) part.handle[Symbol.dispose]();
    } catch (error) {
      this.#watches.delete(part);
      // One of the directories was removed meanwhile.
      if (!(error instanceof Deno.errors.NotFound) || attempt >= MOST_ATTEMPTS) throw error;
    }
  }

  #end(): void {
    for (const { handle } of this.#watches) handle?.[Symbol.dispose]();
    this.#watches.clear();
  }
}
