import { repeat } from "../async/repeat.ts";
import { type FoundPath, lookAt, type PathOfInterest, realDir, type WatchDirs, watchDirs } from "./watch.ts";

/** Options of {@linkcode PathWatch}. */
export interface PathWatchOptions {
  /** Called if something may have changed. */
  readonly changed: () => void;
  /** Called if the watch ended; {@linkcode PathWatch.cover} makes another. */
  readonly failed: (error: unknown) => void;
  /** @default {watchDirs} */
  readonly watch?: WatchDirs | undefined;
  /** Milliseconds between two looks at the paths themselves. @default {500} */
  readonly lookMs?: number | undefined;
}

const MOST_ATTEMPTS = 5;

/** A watch on some directories, with the identity of each. */
interface PartialWatch {
  /** Undefined while the watch is being made. */
  handle: Disposable | undefined;
  /** Without directories that it no longer watches. */
  readonly dirs: Map<string, string>;
}

/**
 * Reports changes of paths, whether or not they exist, also after they are replaced.
 *
 * Only the directories themselves have a watch. What happens on the way to them is found by looking: a directory above them,
 * as `/etc`, belongs to others, and every program that opens a file there would cause an event.
 */
export class PathWatch implements AsyncDisposable {
  readonly #options: PathWatchOptions;
  /**
   * New directories get a watch of their own next to the existing ones: Deno never fully forgets a watch, and each one
   * makes every event more expensive.
   */
  readonly #watches = new Set<PartialWatch>();
  #paths: readonly PathOfInterest[] = [];
  /** What each path led to at the last look. */
  #ids: ReadonlyMap<string, string | undefined> = new Map();
  /** Which names matter, by watched directory. */
  #names: ReadonlyMap<string, readonly ((name: string) => boolean)[]> = new Map();
  #looking: AsyncDisposable | undefined;
  #disposed = false;

  constructor(options: PathWatchOptions) {
    this.#options = options;
  }

  /** Ends all watches, so that the next {@linkcode PathWatch.cover} makes new ones: a change was missed. */
  reset(): void {
    this.#end();
  }

  /**
   * Adapts the watch to what these paths need now. Returns whether something is watched that was not before, and may have
   * changed until then. Only one call may run at a time.
   *
   * Requires `--allow-read`; directories without that permission are not watched.
   *
   * @throws if directories cannot be watched; the others are
   */
  async cover(paths: readonly PathOfInterest[]): Promise<boolean> {
    this.#looking ??= this.#disposed ? undefined : this.#repeatLooks();
    for (let attempt = 1, hasNewFile = false; !this.#disposed; attempt++) {
      const found = await Promise.all(paths.map(findDir));
      if (this.#disposed) break;
      hasNewFile ||= found.some(({ path, dir, there }) => there && !dir && !this.#ids.has(path));
      this.#adopt(found);
      const dirs = new Map(found.flatMap(({ dir, there }) => dir && there ? [[dir, there.id] as const] : []));
      this.#forgetAllBut(dirs);
      const lacking = new Map([...dirs].filter(([dir, id]) => !this.#has(dir, id)));
      if (lacking.size === 0 || attempt > MOST_ATTEMPTS) return hasNewFile || attempt > 1;
      // The next round finds a directory that is replaced before its watch exists.
      await this.#add(lacking, attempt);
    }
    return false;
  }

  /** Ends all watches and the looks. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#end();
    await this.#looking?.[Symbol.asyncDispose]();
  }

  #repeatLooks(): AsyncDisposable {
    // The next call of `cover` meets the same error, and throws it.
    return repeat(this.#options.lookMs ?? 500, () => this.#look(), () => {});
  }

  async #look(): Promise<void> {
    const paths = this.#paths;
    const ids = await Promise.all(
      paths.map(async ({ path }) => [path, (await lookAt(path))?.id] as const),
    );
    // What `cover` has found meanwhile is newer.
    if (!this.#disposed && paths === this.#paths) this.#compare(new Map(ids));
  }

  #adopt(found: readonly FoundDir[]): void {
    const names = new Map<string, ((name: string) => boolean)[]>();
    for (const { dir, concerns = () => true } of found) {
      if (dir !== undefined) names.set(dir, [...names.get(dir) ?? [], concerns]);
    }
    this.#paths = found;
    this.#names = names;
    this.#compare(new Map(found.map(({ path, there }) => [path, there?.id])));
  }

  #compare(ids: ReadonlyMap<string, string | undefined>): void {
    const before = this.#ids;
    this.#ids = ids;
    if ([...ids].some(([path, id]) => before.has(path) && before.get(path) !== id)) this.#options.changed();
  }

  #concerns(path: string): boolean {
    const slash = path.lastIndexOf("/");
    const names = this.#names.get(path.slice(0, slash) || "/");
    return this.#names.has(path) || (names?.some((concerns) => concerns(path.slice(slash + 1))) ?? false);
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
    if (paths.length === 0 || paths.some((path) => this.#concerns(path))) this.#options.changed();
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

/** A path, and the directory that it leads to. */
interface FoundDir extends PathOfInterest {
  readonly there: FoundPath | undefined;
  readonly dir: string | undefined;
}

async function findDir(interest: PathOfInterest): Promise<FoundDir> {
  const there = await lookAt(interest.path);
  return { ...interest, there, dir: there?.isDirectory ? await realDir(interest.path) : undefined };
}
