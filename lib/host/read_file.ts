import fs from "node:fs";
import { breathe } from "../async/breathe.ts";
import { denoRules } from "./deno_rules.ts";
import { factsLibrary, factsNow, factsOfOpen, type FileFacts, isMissing } from "./file_facts.ts";
import { LIBC } from "./libc_constants.ts";

/** In bytes. Neither podwire nor a plugin nor another runtime writes a larger file. */
export const LARGEST_FILE = 4 * 1024 * 1024;

/** Deno resolves a symbolic link and then opens its target. A link that is replaced in between looks like a loop of links. */
const OPENINGS = 8;

const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = fs.constants;
const SPACE = new Uint8Array(64 * 1024);
/** For the C library. */
const FLAGS = LIBC.O_RDONLY | LIBC.O_NONBLOCK | LIBC.O_NOCTTY | LIBC.O_CLOEXEC;
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** The error if a path leads to something that must not be read: not a regular file, or one that is too large. */
export class UnreadableFileError extends Error {
  override readonly name: string = "UnreadableFileError";

  /** `why` does not name the path, for messages that name it already. */
  constructor(readonly path: string, readonly why: string) {
    super(`Cannot read "${path}": ${why}`);
  }
}

/** A regular file as it was when it was read. */
export interface WholeFile {
  readonly facts: FileFacts;
  /** All of it, in memory that the next file takes: decode or copy it in this turn of the event loop. */
  readonly bytes: Uint8Array;
}

/**
 * Returns the text of a file of podwire or of the kernel, or undefined if there is none. Bytes that are not UTF-8 become
 * U+FFFD.
 *
 * Such files are small and on a disk of this machine or in memory, so the text is read without a thread: that takes a fifth
 * of the time. A file that may be on another machine is read with {@linkcode readFileIfThere}. Other work of the process
 * runs between many reads.
 *
 * Requires `--allow-read`.
 *
 * @throws {UnreadableFileError} As {@linkcode readFileIfThere}.
 */
export async function readTextIfThere(path: string): Promise<string | undefined> {
  const bytes = await readOwnBytes(path);
  // The reader of the text decides about a byte order mark.
  return bytes && DECODER.decode(bytes);
}

/**
 * Reads as {@linkcode readTextIfThere}, and returns the bytes. `largest` is the number of bytes that the file may have.
 *
 * Requires `--allow-read`.
 *
 * @throws {UnreadableFileError} As {@linkcode readFileIfThere}.
 */
export async function readOwnBytes(path: string, largest = LARGEST_FILE): Promise<Uint8Array | undefined> {
  await breathe();
  return readNow(path, largest);
}

/**
 * Reads a file that `statRegularNow` has just shown to be a regular one, in a folder that only podwire writes to: a
 * third of the steps of {@linkcode readOwnBytes}. Returns undefined if it is gone. Requires `--allow-read`.
 */
export function readRegularNow(path: string): Uint8Array | undefined {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Reads as {@linkcode readTextIfThere} in the same turn of the event loop. Undefined also if it cannot be read;
 * {@linkcode readTextIfThere} says why. Requires `--allow-read`.
 */
export function readTextNow(path: string): string | undefined {
  try {
    const whole = wholeFileNow(path);
    const bytes = whole === "unknown" ? readNow(path, LARGEST_FILE) : whole?.bytes;
    return bytes && DECODER.decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Reads a small regular file in this turn of the event loop through the C library, in four calls of the kernel: a third of the
 * time that Deno takes, and lists read thousands.
 *
 * Returns undefined if opening finds no file, which may be a symbolic link that leads nowhere, and "unknown" where Deno has to
 * be asked: as `factsNow` does, and for another kind of file, a larger one, or one that has grown meanwhile. Requires no
 * permission.
 */
export function wholeFileNow(path: string): WholeFile | undefined | "unknown" {
  const library = factsLibrary();
  if (library === undefined || path.includes("\0")) return "unknown";
  const fd = library.open(path, FLAGS);
  if (fd < 0) return isMissing(library) ? undefined : "unknown";
  try {
    const facts = factsOfOpen(library, fd);
    if (facts === undefined || !facts.isFile || facts.size >= SPACE.length) return "unknown";
    // One byte more than the size shows that the file has grown.
    const length = library.read(fd, SPACE, facts.size + 1);
    return length === facts.size ? { facts, bytes: SPACE.subarray(0, length) } : "unknown";
  } finally {
    library.close(fd);
  }
}

/**
 * Returns the bytes of a regular file of at most {@linkcode LARGEST_FILE} bytes, or undefined if there is none. Never waits
 * for another process, as reading a pipe would, even if the path is replaced meanwhile.
 *
 * Requires `--allow-read`.
 *
 * @throws {UnreadableFileError} If it is another kind of file, or a larger one.
 */
export async function readFileIfThere(path: string): Promise<Uint8Array | undefined> {
  const fd = await openToRead(path);
  if (fd === undefined) return undefined;
  try {
    // Of the open file: the path may lead elsewhere by now.
    const size = sizeToRead(path, fs.fstatSync(fd));
    return await readAll(path, fd, size);
  } catch (error) {
    throw asDenoError(error, path);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Returns the first bytes of a regular file, fewer if it is shorter; undefined if it is not a regular file or cannot be
 * read. Never waits for another process. Requires `--allow-read`.
 */
export function readHeadSync(path: string, length: number): Uint8Array | undefined {
  let fd: number | undefined;
  try {
    fd = fs.openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!fs.fstatSync(fd).isFile()) return undefined;
    const head = new Uint8Array(length);
    return head.subarray(0, fs.readSync(fd, head, 0, length, 0));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** An open file of any kind. */
export interface OpenFile extends Disposable {
  /** The identity of the file: `device:inode`. */
  readonly id: string;
}

/**
 * Opens what a path leads to without waiting for another process, as opening a FIFO would. Returns undefined if nothing is
 * there, or a socket. Requires `--allow-read`.
 */
export async function holdOpen(path: string): Promise<OpenFile | undefined> {
  const fd = await openToRead(path).catch((error) => {
    if (error instanceof UnreadableFileError) return undefined;
    throw error;
  });
  if (fd === undefined) return undefined;
  const { dev, ino } = fs.fstatSync(fd);
  return { id: `${dev}:${ino}`, [Symbol.dispose]: () => fs.closeSync(fd) };
}

/** The `open` of Deno has no O_NONBLOCK: without it, opening a FIFO waits for a writer, and blocks a thread until then. */
function openToRead(path: string, attempt = 1): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    fs.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, (error, fd) => {
      if (error === null) return resolve(fd);
      if (error.code === "ELOOP" && attempt < OPENINGS) return resolve(openToRead(path, attempt + 1));
      if (error.code === "ENOENT" && denoRules().linksAreFollowed) return resolveLink(path, resolve, reject);
      // No file can have a name that is longer than the kernel allows.
      if (error.code === "ENOENT" || error.code === "ENAMETOOLONG") return resolve(undefined);
      reject(error.code === "ENXIO" ? notRegular(path, "a socket") : asDenoError(error, path));
    });
  });
}

/** Reads as {@linkcode readFileIfThere}, in the same turn of the event loop. Nearly all files that are missing are so at a look. */
function readNow(path: string, largest: number): Uint8Array | undefined {
  if (factsNow(path, { follow: false }) === undefined) return undefined;
  const whole = wholeFileNow(path);
  if (typeof whole === "object" && whole.bytes.length <= largest) return whole.bytes.slice();
  let fd: number | undefined;
  try {
    fd = openNow(path);
    if (fd === undefined) return undefined;
    return readAllNow(fd, new Reading(path, sizeToRead(path, fs.fstatSync(fd), largest), largest));
  } catch (error) {
    throw asDenoError(error, path);
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function openNow(path: string, attempt = 1): number | undefined {
  try {
    return fs.openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ELOOP" && attempt < OPENINGS) return openNow(path, attempt + 1);
    if (code === "ENOENT" && denoRules().linksAreFollowed && leadsNowhere(path)) throw dangling(path);
    if (code === "ENOENT" || code === "ENAMETOOLONG") return undefined;
    throw code === "ENXIO" ? notRegular(path, "a socket") : error;
  }
}

function leadsNowhere(path: string): boolean {
  const link = fs.lstatSync(path, { throwIfNoEntry: false });
  return link?.isSymbolicLink() === true && fs.statSync(path, { throwIfNoEntry: false }) === undefined;
}

/** A dangling link is not the same as a missing file: it was put there on purpose. */
function resolveLink(path: string, absent: (none: undefined) => void, failed: (error: Error) => void): void {
  fs.lstat(path, (error, stat) => {
    if (error !== null || !stat.isSymbolicLink()) return absent(undefined);
    // The target may have been created after the opening.
    fs.stat(path, (error) => {
      if (error === null) absent(undefined);
      else failed(dangling(path));
    });
  });
}

function dangling(path: string): UnreadableFileError {
  return new UnreadableFileError(path, "it is a symbolic link that leads nowhere");
}

function sizeToRead(path: string, stat: fs.Stats, largest = LARGEST_FILE): number {
  if (!stat.isFile()) throw notRegular(path, kindOf(stat));
  if (stat.size > largest) throw tooLarge(path, largest);
  return stat.size;
}

function kindOf(stat: fs.Stats): string {
  if (stat.isDirectory()) return "a directory";
  if (stat.isFIFO()) return "a FIFO";
  return stat.isSocket() ? "a socket" : "a device";
}

function notRegular(path: string, kind: string): UnreadableFileError {
  return new UnreadableFileError(path, `it is ${kind}, not a regular file`);
}

function tooLarge(path: string, largest: number): UnreadableFileError {
  return new UnreadableFileError(path, `it is larger than ${largest / (1024 * 1024)} MiB`);
}

/** Asks for one byte more than the size: so the end of the file shows, or that the file has grown. */
async function readAll(path: string, fd: number, size: number): Promise<Uint8Array> {
  const reading = new Reading(path, size, LARGEST_FILE);
  while (!reading.add(await readInto(fd, reading.space))) { /* goes on */ }
  return reading.bytes;
}

function readAllNow(fd: number, reading: Reading): Uint8Array {
  while (!reading.add(fs.readSync(fd, reading.space))) { /* goes on */ }
  return reading.bytes;
}

/** The bytes of a file that have been read so far. */
class Reading {
  readonly #path: string;
  readonly #size: number;
  readonly #largest: number;
  #buffer: Uint8Array;
  #filled = 0;

  constructor(path: string, size: number, largest: number) {
    this.#path = path;
    this.#size = size;
    this.#largest = largest;
    this.#buffer = new Uint8Array(size + 1);
  }

  /** Where the next bytes belong. */
  get space(): Uint8Array {
    return this.#buffer.subarray(this.#filled);
  }

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#filled);
  }

  /** Counts the bytes that were read into the space. Returns whether these are all. */
  add(count: number): boolean {
    this.#filled += count;
    if (this.#filled > this.#largest) throw tooLarge(this.#path, this.#largest);
    if (count === 0 || this.#filled <= this.#size) return true;
    if (this.#filled < this.#buffer.byteLength) return false;
    const larger = new Uint8Array(Math.min(2 * this.#buffer.byteLength, this.#largest + 1));
    larger.set(this.#buffer);
    this.#buffer = larger;
    return false;
  }
}

function readInto(fd: number, buffer: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(
      fd,
      buffer,
      0,
      buffer.byteLength,
      null,
      (error, count) => error === null ? resolve(count) : reject(error),
    );
  });
}

const DENO_ERRORS: Readonly<Record<string, new (message: string) => Error>> = {
  EACCES: Deno.errors.PermissionDenied,
  EPERM: Deno.errors.PermissionDenied,
  ENOTDIR: Deno.errors.NotADirectory,
  ELOOP: Deno.errors.FilesystemLoop,
};

/** Makes an error as Deno throws it, which the other modules expect. It names the file also in a compiled program. */
function asDenoError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !("code" in error) || !("errno" in error)) return error;
  const { code, errno } = error as NodeJS.ErrnoException;
  if (code === undefined || errno === undefined) return error;
  // The middle part of "ENOTDIR: not a directory, open '/a/b'".
  const [, words = error.message] = /^[A-Z0-9]+: (.*?)(?:, \w+(?: '.*')?)?$/s.exec(error.message) ?? [];
  const message = `${words.charAt(0).toUpperCase()}${
    words.slice(1)
  } (os error ${-errno}): readfile '${path}'`;
  return new (DENO_ERRORS[code] ?? Error)(message);
}
