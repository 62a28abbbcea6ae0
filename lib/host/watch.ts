import { watchDir, type WatchListener } from "./dir_watch.ts";

export type { WatchListener };

/** How directories are watched: {@linkcode watchDirs}, or what stands in for it. */
export type WatchDirs = (dirs: readonly string[], listener: WatchListener) => Promise<Disposable>;

/** Options of {@linkcode watchDirs}. */
export interface WatchDirsOptions {
  /** Whether what is below their subdirectories is told of too, those that are made later included. @default {false} */
  readonly recursive?: boolean | undefined;
}

/**
 * Watches directories, not what is below their subdirectories unless asked to, until disposed of. A directory that is
 * removed and made anew is another one: see {@linkcode watchedPaths}. Requires `--allow-read`.
 *
 * @throws {Deno.errors.NotFound} If one of them is not there.
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
  /** All of them are there, and none has a symbolic link in its path; with what tells one from another of its name. */
  readonly dirs: ReadonlyMap<string, string>;
  /** Whether a change at `changed` is one of the paths, in them, or on the way to them. */
  readonly concerns: (changed: string) => boolean;
}

/** As many as Linux follows. */
const MOST_LINKS = 40;

/**
 * What to watch to hear of changes of these paths (absolute ones), and in those that are directories: with each of
 * them the directories above it, and those that links on the way lead through. So it is heard when one of them is
 * made, removed, renamed or replaced, or a link is switched.
 *
 * Requires `--allow-read`; directories for which it is not granted are left out.
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
  // At once: on a busy machine each look has to wait for its turn.
  await Promise.all(paths.map((path) => follow(path, survey)));
  const found = new Map<string, Interest>();
  for (const [dir, interest] of survey.interests) {
    const there = await interest;
    if (there !== undefined) found.set(dir, there);
  }
  const dirs = new Map([...found].map(([dir, { id }]) => [dir, id]));
  return { dirs, concerns: (changed) => isOfInterest(changed, found) };
}

/** What of a directory is of interest. */
interface Interest {
  readonly id: string;
  readonly names: Set<string>;
  all: boolean;
}

/** What was looked at, each path once. */
interface Survey {
  readonly infos: Map<string, Promise<Deno.FileInfo | undefined>>;
  /** By directory; undefined for what is none. */
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

/** Undefined also for what may not be looked at. */
async function infoOf(path: string): Promise<Deno.FileInfo | undefined> {
  return isReadable(path) ? await unlessGone(Deno.lstat(path)) : undefined;
}

const UNREACHABLE = [
  Deno.errors.NotFound,
  Deno.errors.NotADirectory,
  Deno.errors.PermissionDenied,
  // Below /proc and /sys, from Deno 2.8.3 on; nor could they be watched.
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

/** Asked beforehand, for a look without permission would prompt. */
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
