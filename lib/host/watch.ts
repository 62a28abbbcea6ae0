import { watchDir, type WatchListener } from "./dir_watch.ts";

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
 * removed and made again is another one: see {@linkcode watchedPaths}. Requires `--allow-read`.
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

/** Directories that have to be watched for some paths, as {@linkcode watchedPaths} finds them. */
export interface WatchedPaths {
  /** All of them exist, and none has a symbolic link in its path; with their identity, by which a replaced one is recognized. */
  readonly dirs: ReadonlyMap<string, string>;
  /** Whether `changed` is one of the paths, or in them, or on the way to them. */
  readonly concerns: (changed: string) => boolean;
}

/** Linux follows no more. */
const MOST_LINKS = 40;

/**
 * Returns the directories to watch for changes of these absolute paths, and of the entries of those that are directories:
 * each path with the directories above it, and those that links on the way lead through. So a watch notices when one of
 * them is made, removed, renamed or replaced, or when a link is changed.
 *
 * Requires `--allow-read`; directories without that permission are left out.
 *
 * @example
 * ```ts
 * import { watchedPaths } from "./watch.ts";
 *
 * const { dirs, concerns } = await watchedPaths(["/etc/cni/net.d"]);
 * console.log([...dirs.keys()], concerns("/etc/cni"), concerns("/etc/passwd"));
 * ```
 */
export async function watchedPaths(paths: readonly string[]): Promise<WatchedPaths> {
  const survey: Survey = { infos: new Map(), interests: new Map() };
  // Concurrently: on a busy machine each check has to wait.
  await Promise.all(paths.map((path) => follow(path, survey)));
  const found = new Map<string, Interest>();
  for (const [dir, interest] of survey.interests) {
    const there = await interest;
    if (there !== undefined) found.set(dir, there);
  }
  const dirs = new Map([...found].map(([dir, { id }]) => [dir, id]));
  return { dirs, concerns: (changed) => isOfInterest(changed, found) };
}

/** The names of interest in a directory. */
interface Interest {
  readonly id: string;
  readonly names: Set<string>;
  all: boolean;
}

/** The paths that were checked, each of them once. */
interface Survey {
  readonly infos: Map<string, Promise<Deno.FileInfo | undefined>>;
  /** By directory; undefined if the path is not a directory. */
  readonly interests: Map<string, Promise<Interest | undefined>>;
}

async function follow(path: string, survey: Survey): Promise<void> {
  const rest = partsOf(path);
  let dir = "/";
  for (let links = 0;;) {
    const interest = await once(survey.interests, dir, () => interestIn(dir, survey));
    const name = rest.shift();
    if (name === undefined) {
      if (interest !== undefined) interest.all = true;
      return;
    }
    interest?.names.add(name);
    if (name === "..") {
      dir = parentOf(dir);
      continue;
    }
    const next = childOf(dir, name);
    const info = await once(survey.infos, next, () => infoOf(next));
    if (info?.isSymlink) {
      if (++links > MOST_LINKS) return;
      const target = await unlessGone(Deno.readLink(next));
      if (target === undefined) return;
      rest.unshift(...partsOf(target));
      if (target.startsWith("/")) dir = "/";
    } else if (info === undefined || info.isDirectory) dir = next;
    else return;
    if (info === undefined && isReadable(next)) return;
  }
}

async function interestIn(dir: string, { infos }: Survey): Promise<Interest | undefined> {
  const info = await once(infos, dir, () => infoOf(dir));
  return info?.isDirectory ? { id: `${info.dev}:${info.ino}`, names: new Set(), all: false } : undefined;
}

function once<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const made = known.get(key) ?? make();
  known.set(key, made);
  return made;
}

/** Undefined also if the permission is missing. */
async function infoOf(path: string): Promise<Deno.FileInfo | undefined> {
  return isReadable(path) ? await unlessGone(Deno.lstat(path)) : undefined;
}

const UNREACHABLE = [
  Deno.errors.NotFound,
  Deno.errors.NotADirectory,
  Deno.errors.PermissionDenied,
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

/** Checks the permission first, because a check of the path without it would prompt. */
function isReadable(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

function isOfInterest(changed: string, found: ReadonlyMap<string, Interest>): boolean {
  const interest = found.get(parentOf(changed));
  if (interest?.all || interest?.names.has(changed.slice(changed.lastIndexOf("/") + 1))) return true;
  return found.get(changed)?.all ?? false;
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

function childOf(dir: string, name: string): string {
  return dir === "/" ? `/${name}` : `${dir}/${name}`;
}
