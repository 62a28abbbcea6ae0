import { type WatchDirs, watchDirs, watchedPaths } from "./watch.ts";

/** Options of {@linkcode PathWatch}. */
export interface PathWatchOptions {
  /** Something may have changed. */
  readonly changed: () => void;
  /** The watch ended; {@linkcode PathWatch.cover} makes another. */
  readonly failed: (error: unknown) => void;
  /** @default {watchDirs} */
  readonly watch?: WatchDirs | undefined;
}

const MOST_ATTEMPTS = 5;

/** A watch on directories, told from others of their names. */
interface Part {
  /** Undefined while the watch is made. */
  handle: Disposable | undefined;
  /** Without those that it no longer watches. */
  readonly dirs: Map<string, string>;
}

/** Tells of changes of paths, whether or not they are there, and whatever is put in their place. */
export class PathWatch implements Disposable {
  readonly #options: PathWatchOptions;
  /**
   * What is new is watched beside what was watched before: Deno never quite forgets a watch, and each one makes every
   * event dearer.
   */
  readonly #parts = new Set<Part>();
  #concerns: (path: string) => boolean = () => true;
  #disposed = false;

  constructor(options: PathWatchOptions) {
    this.#options = options;
  }

  /** Has everything watched anew at the next {@linkcode PathWatch.cover}: a change went unheard. */
  distrust(): void {
    this.#end();
  }

  /**
   * Makes the watch what these paths need by now, and tells whether more had to be watched: there, changes may have
   * gone unheard before. One call at a time.
   *
   * Requires `--allow-read`; directories for which it is not granted are not watched.
   *
   * @throws if the directories cannot be watched; the others are
   */
  async cover(paths: readonly string[]): Promise<boolean> {
    for (let attempt = 1; !this.#disposed; attempt++) {
      const { dirs, concerns } = await watchedPaths(paths);
      if (this.#disposed) break;
      this.#concerns = concerns;
      this.#forgetAllBut(dirs);
      const lacking = new Map([...dirs].filter(([dir, id]) => !this.#has(dir, id)));
      if (lacking.size === 0 || attempt > MOST_ATTEMPTS) return attempt > 1;
      // What is replaced before the watch is made is found the next time round.
      await this.#add(lacking, attempt);
    }
    return false;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#end();
  }

  #has(dir: string, id: string): boolean {
    return [...this.#parts].some(({ dirs }) => dirs.get(dir) === id);
  }

  #forgetAllBut(wanted: ReadonlyMap<string, string>): void {
    for (const part of this.#parts) {
      if ([...part.dirs].some(([dir, id]) => wanted.get(dir) === id)) continue;
      this.#parts.delete(part);
      part.handle?.[Symbol.dispose]();
    }
  }

  #heard(paths: readonly string[]): void {
    // With a directory that went, Deno forgets the one that was put in its place and is watched by now, too, and all
    // that are below it.
    for (const path of paths) this.#forget(path);
    if (paths.length === 0 || paths.some(this.#concerns)) this.#options.changed();
  }

  #forget(path: string): void {
    for (const { dirs } of this.#parts) {
      if (!dirs.has(path)) continue;
      for (const dir of [...dirs.keys()]) if (dir === path || dir.startsWith(`${path}/`)) dirs.delete(dir);
    }
  }

  async #add(dirs: Map<string, string>, attempt: number): Promise<void> {
    const { failed, watch = watchDirs } = this.#options;
    // Before it is made: one of them may go while the others are not watched yet.
    const part: Part = { handle: undefined, dirs };
    this.#parts.add(part);
    const isCurrent = () => this.#parts.has(part);
    try {
      part.handle = await watch([...dirs.keys()], {
        changed: (paths) => {
          if (isCurrent()) this.#heard(paths);
        },
        failed: (error) => {
          if (!isCurrent()) return;
          this.#end();
          failed(error);
        },
      });
      if (!isCurrent()) part.handle[Symbol.dispose]();
    } catch (error) {
      this.#parts.delete(part);
      // One of them went meanwhile.
      if (!(error instanceof Deno.errors.NotFound) || attempt >= MOST_ATTEMPTS) throw error;
    }
  }

  #end(): void {
    for (const { handle } of this.#parts) handle?.[Symbol.dispose]();
    this.#parts.clear();
  }
}
