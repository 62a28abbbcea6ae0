import { watchDir, type WatchListener } from "./dir_watch.ts";
import { isSettled } from "./listing.ts";

export type { WatchListener };

/** Watches directories: {@linkcode watchDirs}, or a replacement for tests. */
export type WatchDirs = (dirs: readonly string[], listener: WatchListener) => Promise<Disposable>;

/** Options of {@linkcode watchDirs}. */
export interface WatchDirsOptions {
  /** Whether changes below their subdirectories are reported too, also below those that are made later. @default {false} */
  readonly recursive?: boolean | undefined;
}

/**
 * Watches directories until disposed of; what is below their subdirectories only with `recursive`. A directory that is
 * removed and made again is another one: see `PathWatch`. Requires `--allow-read`.
 *
 * @throws {Deno.errors.NotFound} If one of them does not exist.
 *
 * @example
 * ```ts
 * import { watchDirs } from "./watch.ts";
 *
 * using _watch = await watchDirs(["/tmp"], { changed: (paths) => console.log(paths), failed: console.error });
 * ```
 */
export async function watchDirs(
  dirs: readonly string[],
  listener: WatchListener,
  { recursive = false }: WatchDirsOptions = {},
): Promise<Disposable> {
  const handles: Disposable[] = [];
  let isClosed = false;
  const close = () => {
    isClosed = true;
    for (const handle of handles.splice(0)) handle[Symbol.dispose]();
  };
  const own: WatchListener = {
    changed: (paths) => {
      if (!isClosed) listener.changed(paths);
    },
    failed: (error) => {
      if (isClosed) return;
      close();
      listener.failed(error);
    },
  };
  try {
    for (const dir of dirs) handles.push(await watchDir(dir, recursive, own));
  } catch (error) {
    close();
    throw error;
  }
  if (isClosed) close();
  return { [Symbol.dispose]: close };
}

/** A path whose changes matter. */
export interface PathOfInterest {
  /** Absolute. */
  readonly path: string;
  /** If it is a directory: whether an entry of this name matters. @default {every name matters} */
  readonly concerns?: ((name: string) => boolean) | undefined;
}

/** What a path leads to, as {@linkcode lookAt} finds it. */
export interface FoundPath {
  /** Another one as soon as the path leads to something else, or to a file that has changed. */
  readonly id: string;
  readonly isDirectory: boolean;
}

/**
 * Returns what a path leads to, or undefined if that does not exist. One look shows whatever has happened on the way to it:
 * a directory or a link that was made, removed, renamed or replaced, or that something was mounted on.
 *
 * Requires `--allow-read`; a path without that permission does not exist.
 *
 * @example
 * ```ts
 * import { lookAt } from "./watch.ts";
 *
 * console.log(await lookAt("/etc/cni/net.d"));
 * ```
 */
export async function lookAt(path: string): Promise<FoundPath | undefined> {
  // Checked first, because a look without the permission would prompt.
  if (!isReadable(path)) return undefined;
  const now = Date.now();
  const info = await unlessGone(Deno.stat(path));
  if (info === undefined) return undefined;
  const { dev, ino, size, isDirectory } = info;
  // A new directory often gets the number of the one that was removed. What is in it changes all other times.
  if (isDirectory) return { id: [dev, ino, info.birthtime?.getTime()].join(":"), isDirectory };
  const mtimeMs = info.mtime?.getTime() ?? 0;
  // Otherwise a second change right after the first would never show.
  const settled = isSettled({ mtimeMs }, now) ? "" : "unsettled";
  return { id: [dev, ino, size, mtimeMs, info.ctime?.getTime(), settled].join(":"), isDirectory };
}

/**
 * Returns the directory that a path leads to, without symbolic links; undefined if it may not be read or does not exist.
 * Requires `--allow-read`.
 */
export async function realDir(path: string): Promise<string | undefined> {
  const real = await unlessGone(Deno.realPath(path));
  return real !== undefined && isReadable(real) ? real : undefined;
}

const UNREACHABLE = [
  Deno.errors.NotFound,
  Deno.errors.NotADirectory,
  Deno.errors.PermissionDenied,
  Deno.errors.FilesystemLoop,
  // Below /proc and /sys, from Deno 2.8.3 on; such paths could not be watched either.
  Deno.errors.NotCapable,
];

async function unlessGone<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (UNREACHABLE.some((kind) => error instanceof kind)) return undefined;
    throw error;
  }
}

function isReadable(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}
