import { breathe } from "../async/breathe.ts";
import { Coalescer } from "../async/coalesce.ts";
import { ensureDir as ensureAnyDir } from "@std/fs";
import { dirname, join } from "@std/path/posix";
import { factsNow } from "./file_facts.ts";
import { compareBytes } from "./compare_bytes.ts";
import { entriesNow, isNameTooLong, lstatNow, namesIn, statOf } from "./stat.ts";

export { compareBytes } from "./compare_bytes.ts";
export {
  readFileIfThere,
  readOwnBytes,
  readRegularNow,
  readTextIfThere,
  readTextNow,
  UnreadableFileError,
  wholeFileNow,
} from "./read_file.ts";
export { type FileStat, realPath, statOf, statOwn, statRegularNow } from "./stat.ts";

/** Options of {@linkcode writeFileSynced} and {@linkcode createExclusive}. */
export interface WriteOptions {
  /** The umask does not change it. @default {0o600} */
  readonly mode?: number | undefined;
  /**
   * What a loss of power leaves. Every reader gets the whole text in any case, also if this process is killed.
   *
   * - `true`: the file has this text from the moment when the call returns.
   * - `"text"`: the file has this text or its former one, or is missing if there was none. This takes half as long, because
   *   the text is on the disk before the file gets its name, and the name may follow later.
   * - `false`: the same, or the file is empty: some file systems keep the name and not the text. This takes no time.
   *
   * @default {true}
   */
  readonly durable?: boolean | "text" | undefined;
}

/** The name contains the ID of the process that writes, so that files of dead processes can be recognized. */
const ASCII = /^[\x20-\x7e]*$/;
const TEMP_NAME = /^\.podwire-(\d+)-[0-9a-f]{32}\.tmp$/;

const MOST_ATTEMPTS = 5;
const PARENT_MODE = 0o755;

/**
 * Replaces or creates a file so that after a crash it has the old text or the new one, never a mixture. When this
 * returns, the new text is on the disk, unless `durable` says otherwise.
 *
 * Requires `--allow-read` and `--allow-write`.
 *
 * @example
 * ```ts ignore
 * import { writeFileSynced } from "./file.ts";
 *
 * await writeFileSynced("/var/lib/podwire/sandboxes/web.json", "{}\n");
 * ```
 */
export async function writeFileSynced(path: string, text: string, options: WriteOptions = {}): Promise<void> {
  const temp = await writeTemp(path, text, options);
  try {
    Deno.renameSync(temp, path);
  } catch (error) {
    await removeIfThere(temp);
    throw error;
  }
  await syncName(path, options);
}

/**
 * Creates a file with this text, unless the name is taken; of several concurrent callers, one gets true. When this returns
 * true, it is on the disk, unless `durable` says otherwise. The file never exists without its text; only with `durable: false`
 * it may be empty for a moment, and stay so if this process is killed in that moment.
 *
 * Requires `--allow-read` and `--allow-write`.
 */
export async function createExclusive(
  path: string,
  text: string,
  options: WriteOptions = {},
): Promise<boolean> {
  if (options.durable === false) return await createUnsynced(path, text, options);
  const temp = await writeTemp(path, text, options);
  try {
    // A link, unlike a rename, never replaces.
    Deno.linkSync(temp, path);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  } finally {
    await removeIfThere(temp);
  }
  await syncName(path, options);
  return true;
}

/** Each further name of a file costs as much as the file. */
async function createUnsynced(path: string, text: string, { mode = 0o600 }: WriteOptions): Promise<boolean> {
  try {
    await writeNew(path, text, mode);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  }
}

/** Returns a name next to `path` for a file that is not complete yet, see {@linkcode removeUnfinished}. */
export function tempNameFor(path: string): string {
  return join(dirname(path), `.podwire-${Deno.pid}-${crypto.randomUUID().replaceAll("-", "")}.tmp`);
}

/** Writes a new file next to `path`, and returns its name. */
async function writeTemp(
  path: string,
  text: string,
  { mode = 0o600, durable = true }: WriteOptions,
): Promise<string> {
  const temp = tempNameFor(path);
  // Each step without a thread: to wait for one takes longer than the step, except where it waits for the disk.
  if (durable === false) {
    await writeNew(temp, text, mode);
    return temp;
  }
  using file = Deno.openSync(temp, { write: true, createNew: true, mode: 0o600 });
  try {
    writeAll(file, new TextEncoder().encode(text));
    // The umask removes bits from the mode of open().
    if (mode !== 0o600) Deno.chmodSync(temp, mode);
    await file.sync();
    return temp;
  } catch (error) {
    // A child process that starts now holds the open file, and with it space of a full disk, for a moment longer.
    await file.truncate().catch(() => {});
    await removeIfThere(temp);
    // The error of a write to a full disk does not name the file.
    if (error instanceof Error && !error.message.includes(temp)) error.message += `: writefile '${path}'`;
    throw error;
  }
}

/** Takes as few steps as possible. If the text does not fit on the disk, no file is left. */
async function writeNew(path: string, text: string, mode: number): Promise<void> {
  try {
    // Deno sets the mode once more, whatever the umask is, if one is given.
    Deno.writeTextFileSync(path, text, { createNew: true, mode });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) throw error;
    await removeIfThere(path);
    // In a compiled program the error does not name the file.
    if (error instanceof Error && !error.message.includes(path)) error.message += `: writefile '${path}'`;
    throw error;
  }
}

/** Writes all of the bytes where the file is now. */
export function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength;) done += file.writeSync(bytes.subarray(done));
}

/** Makes the new name of a file survive a loss of power, if it has to. */
async function syncName(path: string, { durable = true }: WriteOptions): Promise<void> {
  if (durable === true) await syncDir(dirname(path));
}

/** One for each directory in which names have to survive a loss of power: these are few. */
const commits = new Map<string, Coalescer<void>>();

/**
 * Makes changes of the entries of a directory (created, renamed, removed) survive a crash of the machine. All that wait at
 * the same time share one commit.
 */
export async function syncDir(path: string): Promise<void> {
  const commit = commits.get(path) ?? new Coalescer(async () => {
    using dir = Deno.openSync(path, { read: true });
    await dir.sync();
  });
  commits.set(path, commit);
  await commit.next();
}

/** Removes a file or a symbolic link; returns false if there is none. Requires `--allow-write`. */
export async function removeIfThere(path: string): Promise<boolean> {
  await breathe();
  return removeNow(path);
}

/** As {@linkcode removeIfThere}, in the same turn of the event loop. */
export function removeNow(path: string): boolean {
  if (factsNow(path, { follow: false }) === undefined) return false;
  try {
    Deno.removeSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isNameTooLong(error)) return false;
    throw error;
  }
}

/** Removes a directory if it is empty; returns false if it is not, or does not exist. Requires `--allow-read` and `--allow-write`. */
export async function removeDirIfEmpty(path: string): Promise<boolean> {
  await breathe();
  try {
    const there = lstatNow(path);
    if (there === undefined) return false;
    // Deno.removeSync() would remove a file too.
    if (!there.isDirectory) {
      throw new Deno.errors.NotADirectory(`Not a directory: "${path}"`);
    }
    Deno.removeSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isNotEmpty(error)) return false;
    throw error;
  }
}

function isNotEmpty(error: unknown): boolean {
  return error instanceof Error && error.message.includes("(os error 39)");
}

/**
 * Returns the names in a directory in the order of their UTF-8 bytes, without those of unfinished writes; an empty list if
 * the directory does not exist. Requires `--allow-read`.
 *
 * It may be on another machine. A directory of podwire is listed with {@linkcode listDir}.
 */
export async function listAnyDir(path: string): Promise<string[]> {
  const names = await unlessMissing(namesIn(path), []);
  return names.filter((name) => !TEMP_NAME.test(name)).sort(compareBytes);
}

/**
 * Lists a directory of podwire or of the kernel as {@linkcode listAnyDir} does, but without a thread, which takes a fraction
 * of the time: such a directory is on a disk of this machine or in memory.
 */
export async function listDir(path: string): Promise<string[]> {
  return (await entriesIn(path)).map(({ name }) => name);
}

/** Returns the directories in a directory of podwire, as {@linkcode listDir} does. A symbolic link to one counts. */
export async function listDirsIn(path: string): Promise<string[]> {
  const dirs: string[] = [];
  for (const { name, isDirectory, isSymlink } of await entriesIn(path)) {
    if (isDirectory || (isSymlink && (await statOf(join(path, name)))?.isDirectory)) dirs.push(name);
  }
  return dirs;
}

/** Returns the other names in such a directory, as {@linkcode listDir} does. */
export async function listFilesIn(path: string): Promise<string[]> {
  const files: string[] = [];
  for (const { name, isDirectory, isSymlink } of await entriesIn(path)) {
    if (!isDirectory && !(isSymlink && (await statOf(join(path, name)))?.isDirectory)) files.push(name);
  }
  return files;
}

type Entry = Pick<Deno.DirEntry, "name" | "isDirectory" | "isSymlink">;

async function entriesIn(path: string): Promise<readonly Entry[]> {
  return withoutUnfinished(await allEntriesIn(path));
}

async function allEntriesIn(path: string): Promise<readonly Entry[]> {
  await breathe();
  return await unlessMissing(entriesNow(path), []);
}

function withoutUnfinished(entries: readonly Entry[]): readonly Entry[] {
  const finished = entries.filter(({ name }) => !TEMP_NAME.test(name));
  if (!finished.every(({ name }) => ASCII.test(name))) {
    return finished.sort((a, b) => compareBytes(a.name, b.name));
  }
  // Nearly always. Then the order is that of the characters, which the engine compares in a tenth of the time.
  const byName = new Map(finished.map((entry) => [entry.name, entry]));
  return [...byName.keys()].sort().flatMap((name) => byName.get(name) ?? []);
}

/** Lists as {@linkcode listDir}; undefined if the path is not a directory. */
export async function listIfDir(path: string): Promise<readonly string[] | undefined> {
  try {
    return await listDir(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/**
 * Removes the files of unfinished writes whose process was killed, and returns how many there were. Requires
 * `--allow-read`, for `/proc` too, and `--allow-write`.
 */
export async function removeUnfinished(dir: string): Promise<number> {
  const left = (await allEntriesIn(dir)).map(({ name }) => ({ name, pid: TEMP_NAME.exec(name)?.[1] }))
    .filter(({ pid }) => pid !== undefined);
  // Concurrently, because one program may answer for all of them.
  const writers = await Promise.all(left.map(({ pid }) => statOf(`/proc/${pid}`)));
  let removed = 0;
  for (const [index, { name }] of left.entries()) {
    if (writers[index] === undefined && await removeIfThere(join(dir, name))) removed++;
  }
  return removed;
}

/**
 * Creates a directory with exactly this mode, regardless of the umask, and missing parents with 0755. An existing
 * directory is left as it is.
 */
export async function ensureDir(path: string, mode = 0o755): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      Deno.mkdirSync(path, { mode });
      // The umask may have removed bits. If the directory is gone again, there is nothing to change.
      return await unlessMissing(Deno.chmod(path, mode), undefined);
    } catch (error) {
      // Throws if there is something else than a directory.
      if (error instanceof Deno.errors.AlreadyExists) return await ensureAnyDir(path);
      // Its parent may be removed again at once; but if the parent exists, as in /proc, the kernel refuses.
      if (!(error instanceof Deno.errors.NotFound) || attempt === MOST_ATTEMPTS) throw error;
      if (dirname(path) === path) throw error;
      await ensureDir(dirname(path), PARENT_MODE);
    }
  }
}

/**
 * Runs `body`, which writes into the directory. If the directory does not exist, creates it and runs `body` again: it
 * nearly always exists, and checking first would cost more than the write.
 */
export async function inEnsuredDir<T>(path: string, mode: number, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await ensureDir(path, mode);
  return await body();
}

async function unlessMissing<T, U>(promise: Promise<T>, otherwise: U): Promise<T | U> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isNameTooLong(error)) return otherwise;
    throw error;
  }
}
