import { HostError, runCommand } from "./command.ts";
import { denoRules, isKernelFile } from "./deno_rules.ts";
import { factsNow, type FileFacts, type FileStat } from "./file_facts.ts";
import { DEFAULT_PATH } from "./launch.ts";

export type { FileStat } from "./file_facts.ts";

// Deno 2.7 inspects files below /proc and /sys with --allow-read; from 2.8.3 on that requires --allow-all, which podwire
// never asks for. One rule holds for all of podwire: it tries Deno first, and if a newer one refuses, it runs programs.
// `sh` starts these, because podwire needs it anyway, so that they need no permission of their own.

/**
 * Returns the facts about the file that a path leads to, or undefined if it does not exist. Requires `--allow-read`; below
 * `/proc` and `/sys`, from Deno 2.8.3 on, `--allow-run=sh` instead.
 */
export async function statOf(path: string): Promise<FileStat | undefined> {
  if (isInMemory(path)) return await statOwn(path);
  return await statWith(Deno.stat, path);
}

/**
 * Returns the same facts as {@linkcode statOf}, without a thread, which takes a fifteenth of the time: for a file of podwire,
 * which is on a disk of this machine.
 */
export async function statOwn(path: string): Promise<FileStat | undefined> {
  const facts = factsNow(path);
  return facts === "unknown" ? await statWith(Deno.statSync, path) : facts;
}

async function statWith(
  stat: (path: string) => Deno.FileInfo | Promise<Deno.FileInfo>,
  path: string,
): Promise<FileStat | undefined> {
  try {
    return asFileStat(await stat(path));
  } catch (error) {
    if (isForPrograms(error, path)) return await stats.of(withoutSelf(path));
    if (error instanceof Deno.errors.NotFound || isNameTooLong(error)) return undefined;
    throw error;
  }
}

function asFileStat(info: Deno.FileInfo): FileStat {
  return {
    isFile: info.isFile,
    isDirectory: info.isDirectory,
    mode: info.mode ?? 0,
    size: info.size,
    dev: info.dev,
    ino: info.ino ?? 0,
    mtimeMs: info.mtime?.getTime() ?? 0,
    ctimeMs: info.ctime?.getTime() ?? 0,
  };
}

/**
 * Returns the facts about a regular file in the same turn of the event loop; undefined for anything else, and whatever the
 * reason is. Requires `--allow-read`.
 */
export function statRegularNow(path: string): FileStat | undefined {
  const facts = factsNow(path);
  if (facts !== "unknown") return facts?.isFile ? facts : undefined;
  try {
    const stat = asFileStat(Deno.statSync(path));
    return stat.isFile ? stat : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Returns the facts about the very thing at a path, which may be a symbolic link, in the same turn of the event loop; undefined
 * if there is nothing. Requires `--allow-read`.
 */
export function lstatNow(path: string): Omit<FileFacts, "uid"> | undefined {
  const facts = factsNow(path, { follow: false });
  if (facts !== "unknown") return facts;
  try {
    const info = Deno.lstatSync(path);
    return { ...asFileStat(info), isSymlink: info.isSymlink };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Returns what is at a path in memory, in the same turn of the event loop; below `/proc` only what a link there leads to, and
 * elsewhere no link. Undefined for anything else, and whatever the reason is. Requires `--allow-read`.
 */
export function lookNow(
  path: string,
): Pick<FileStat, "dev" | "ino" | "mtimeMs"> & { readonly link?: string } | undefined {
  if (!isInMemory(path)) return undefined;
  try {
    if (!isKernelFile(path)) {
      const there = lstatNow(path);
      return there?.isSymlink === false ? there : undefined;
    }
    return denoRules().kernelFilesByRead
      ? { ...asFileStat(Deno.statSync(path)), link: Deno.readLinkSync(path) }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the target of a symbolic link; undefined if the path is not a link or does not exist. Requires as {@linkcode statOf}. */
export async function linkTarget(path: string): Promise<string | undefined> {
  const isNow = isInMemory(path);
  const facts = isNow ? factsNow(path, { follow: false }) : "unknown";
  if (facts !== "unknown" && facts?.isSymlink !== true) return undefined;
  try {
    return isNow ? Deno.readLinkSync(path) : await Deno.readLink(path);
  } catch (error) {
    if (isForPrograms(error, path)) return await targets.of(withoutSelf(path));
    // Deno has no error class for EINVAL, which means that the path is not a link.
    if (error instanceof Deno.errors.NotFound || isErrno(error, 22)) return undefined;
    throw error;
  }
}

/**
 * Returns the names in a directory, in no order. Requires as {@linkcode statOf}.
 *
 * @throws {Deno.errors.NotFound} If the directory does not exist.
 */
export async function namesIn(dir: string): Promise<string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(dir), ({ name }) => name);
  } catch (error) {
    if (!isForPrograms(error, dir)) throw error;
  }
  // With the dot, ls fails for a file that is not a directory.
  const path = `${withoutSelf(dir)}/.`;
  const { stdout, stderr } = await runScript('exec ls -A1 -- "$1"', [path]);
  const failure = failureOf(path, stderr);
  if (failure !== undefined) throw failure;
  return stdout.split("\n").slice(0, -1);
}

/**
 * Returns the entries of a directory as {@linkcode namesIn} returns their names, without a thread: for a directory on a disk
 * of this machine. Requires as {@linkcode statOf}.
 *
 * @throws {Deno.errors.NotFound} If the directory does not exist.
 */
export async function entriesNow(
  dir: string,
): Promise<readonly Pick<Deno.DirEntry, "name" | "isDirectory" | "isSymlink">[]> {
  try {
    return [...Deno.readDirSync(dir)];
  } catch (error) {
    if (!isForPrograms(error, dir)) throw error;
  }
  // What `ls` prints does not show the kind, and no caller needs it below /proc and /sys.
  return (await namesIn(dir)).map((name) => ({ name, isDirectory: false, isSymlink: false }));
}

/** Returns the path without symbolic links. Requires as {@linkcode statOf}. @throws If it leads nowhere. */
export async function realPath(path: string): Promise<string> {
  try {
    return isInMemory(path) ? Deno.realPathSync(path) : await Deno.realPath(path);
  } catch (error) {
    if (!isForPrograms(error, path)) throw error;
  }
  const own = withoutSelf(path);
  const { code, stdout, stderr } = await runScript('exec readlink -ev -- "$1"', [own]);
  if (code === 0) return stdout.slice(0, -1);
  throw failureOf(own, stderr) ?? notFound(own);
}

/** Returns the user ID of this process. Requires as {@linkcode statOf}, for `/proc/self`. */
export function ownUser(): number {
  try {
    // Deno.uid() needs --allow-sys; the owner of the directory of the process is the same number.
    return Deno.statSync("/proc/self").uid ?? -1;
  } catch (error) {
    if (!isForPrograms(error, "/proc/self")) throw error;
  }
  const { stdout } = new Deno.Command("sh", {
    args: ["-c", "exec id -u"],
    env: ENV,
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).outputSync();
  const text = new TextDecoder().decode(stdout).trim();
  return text === "" ? -1 : Number(text);
}

/**
 * Whether nothing there waits for a disk or another machine. Such files are inspected without a thread, which takes a
 * fifteenth of the time.
 */
export function isInMemory(path: string): boolean {
  return /^\/(?:proc|run|sys)\//.test(path);
}

/** Whether Deno refused the path because it belongs to the kernel. If `--allow-read` is missing too, Deno names that first. */
function isForPrograms(error: unknown, path: string): boolean {
  return error instanceof Deno.errors.NotCapable && !denoRules().kernelFilesByRead && isKernelFile(path);
}

/** Whether the error says that a name is longer than the kernel allows: no file can have such a name. */
export function isNameTooLong(error: unknown): boolean {
  return isErrno(error, 36);
}

function isErrno(error: unknown, number: number): boolean {
  return error instanceof Error && error.message.includes(`(os error ${number})`);
}

/** Replaces `/proc/self`, which for another process is that process. */
function withoutSelf(path: string): string {
  return path.replace(/^\/+proc\/+(?:thread-)?self(?=\/|$)/, `/proc/${Deno.pid}`);
}

const ENV = { PATH: DEFAULT_PATH, LC_ALL: "C", QUOTING_STYLE: "literal" };

async function runScript(script: string, paths: readonly string[]) {
  const args = ["-c", script, "sh", ...paths];
  const outcome = await runCommand({ program: "sh", args, env: ENV, ownGroup: false });
  if (outcome.code !== 126 && outcome.code !== 127) return outcome;
  throw new HostError(`Cannot inspect "${paths[0]}": ${outcome.stderr.trim()}`, {
    reason: "program-missing",
  });
}

const FAILURES: readonly (readonly [words: string, make: (path: string) => Error])[] = [
  [
    "Permission denied",
    (path) => new Deno.errors.PermissionDenied(`Permission denied (os error 13): '${path}'`),
  ],
  ["Not a directory", (path) => new Deno.errors.NotADirectory(`Not a directory (os error 20): '${path}'`)],
  ["No such process", (path) => new Error(`No such process (os error 3): '${path}'`)],
  [
    "Too many levels",
    (path) => new Deno.errors.FilesystemLoop(`Too many levels of links (os error 40): '${path}'`),
  ],
  ["No such file", notFound],
];

function notFound(path: string): Error {
  return new Deno.errors.NotFound(`No such file or directory (os error 2): '${path}'`);
}

/** Returns what a program reports about a path on standard error, as the error that Deno would throw. */
function failureOf(path: string, stderr: string): Error | undefined {
  for (const line of stderr.split("\n")) {
    const at = line.indexOf(path);
    // The line may be about another path that begins with this one.
    if (at < 0 || /^[\w/]/.test(line.slice(at + path.length))) continue;
    for (const [words, make] of FAILURES) if (line.includes(words)) return make(path);
  }
  return undefined;
}

/** So many fit on a command line, even with the longest names. */
const MOST_PATHS = 400;

type Answer<T> = PromiseWithResolvers<T | undefined>;

/**
 * Runs one program for many paths: paths that are requested while it runs wait for the next run. So there is never more than
 * one process at a time, and there are few in total, also with many sandboxes.
 */
class BatchedQuery<T> {
  readonly #script: string;
  readonly #parse: (fields: string) => T | undefined;
  #waiting = new Map<string, Answer<T>>();
  #isRunning = false;

  /** `script` prints for each of its arguments that exists, in their order: its name, a tab and a line of fields. */
  constructor(script: string, parse: (fields: string) => T | undefined) {
    this.#script = script;
    this.#parse = parse;
  }

  of(path: string): Promise<T | undefined> {
    const answer: Answer<T> = this.#waiting.get(path) ?? Promise.withResolvers();
    this.#waiting.set(path, answer);
    if (!this.#isRunning) void this.#run();
    return answer.promise;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    // First let the other callers of this tick add their paths.
    await Promise.resolve();
    while (this.#waiting.size > 0) {
      const asked = [...this.#waiting].slice(0, MOST_PATHS);
      for (const [path] of asked) this.#waiting.delete(path);
      await this.#answer(asked);
    }
    this.#isRunning = false;
  }

  async #answer(asked: readonly (readonly [path: string, answer: Answer<T>])[]): Promise<void> {
    try {
      const { stdout, stderr } = await runScript(this.#script, asked.map(([path]) => path));
      let rest = stdout;
      for (const [path, { resolve, reject }] of asked) {
        if (rest.startsWith(`${path}\t`)) {
          const end = rest.indexOf("\n", path.length);
          resolve(this.#parse(rest.slice(path.length + 1, end)));
          rest = rest.slice(end + 1);
          continue;
        }
        const failure = failureOf(path, stderr);
        if (failure === undefined || failure instanceof Deno.errors.NotFound) resolve(undefined);
        else reject(failure);
      }
    } catch (error) {
      for (const [, { reject }] of asked) reject(error);
    }
  }
}

const KIND_BITS = 0o170000;

const stats = new BatchedQuery<FileStat>('exec stat -L -c "%n\t%f %s %d %i %Y %Z" -- "$@"', (fields) => {
  const [mode = "", ...numbers] = fields.split(" ");
  const [size = NaN, dev = NaN, ino = NaN, mtime = NaN, ctime = NaN] = numbers.map(Number);
  const bits = Number.parseInt(mode, 16);
  return {
    isFile: (bits & KIND_BITS) === 0o100000,
    isDirectory: (bits & KIND_BITS) === 0o040000,
    mode: bits,
    size,
    dev,
    ino,
    mtimeMs: mtime * 1000,
    ctimeMs: ctime * 1000,
  };
});

// `%N` prints the name of the link again before its target; there is no format without it.
const targets = new BatchedQuery<string>('exec stat -c "%n\t%N" -- "$@"', (fields) => {
  const [, target] = / -> '?(.*?)'?$/s.exec(fields) ?? [];
  return target;
});
