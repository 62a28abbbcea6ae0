import { LIBC, LIBC_OFFSETS, LIBC_SIZES } from "./libc_constants.ts";

/** Facts about a file that are known without opening it. */
export interface FileStat {
  readonly isFile: boolean;
  readonly isDirectory: boolean;
  /** All bits, with those for the kind of file. */
  readonly mode: number;
  readonly size: number;
  readonly dev: number;
  readonly ino: number;
  readonly mtimeMs: number;
  /** Time of the last change of the file or its metadata, not earlier; possibly in whole seconds only. */
  readonly ctimeMs: number;
}

/** The same, with what is known of the path itself. */
export interface FileFacts extends FileStat {
  /** Only if links are not followed. */
  readonly isSymlink: boolean;
  readonly uid: number;
}

/** Whether a symbolic link is the file itself, or leads to it. */
export interface FollowLinks {
  /** @default {true} */
  readonly follow?: boolean | undefined;
}

const KIND = 0o170000;
const FILE = 0o100000;
const DIRECTORY = 0o040000;
const LINK = 0o120000;
const ENOENT = 2;
const ENAMETOOLONG = 36;

const { stx_uid, stx_mode, stx_ino, stx_size, stx_ctime, stx_mtime, stx_dev_major, stx_dev_minor } =
  LIBC_OFFSETS.statx;
const { tv_sec, tv_nsec } = LIBC_OFFSETS.statx_timestamp;
const answer = new Uint8Array(LIBC_SIZES.statx);
const view = new DataView(answer.buffer);

/** What is called of the C library. */
export interface FactsLibrary {
  errno(): number;
  statx(path: string, flags: number, into: Uint8Array<ArrayBuffer>): number | undefined;
  open(path: string, flags: number): number;
  /** Fills `into` with the facts about an open file, as `struct statx`; undefined if the library is too old for it. */
  fstatx(fd: number, into: Uint8Array<ArrayBuffer>): number | undefined;
  read(fd: number, into: Uint8Array<ArrayBuffer>, length?: number): number;
  close(fd: number): void;
  statfsAway(path: string, into: Uint8Array<ArrayBuffer>): Promise<number>;
}

let library: FactsLibrary | undefined;
let isAllowed: boolean | undefined;

/** Lets {@linkcode factsNow} ask the C library, which this process has opened for the network. Requires no permission. */
export function useForFacts(opened: FactsLibrary): void {
  library = opened;
}

/**
 * Asks the kernel for the facts about a file in this turn of the event loop, which makes no error of a file that is missing:
 * Deno makes one, with a stack, and podwire looks for many files that are nearly never there.
 *
 * Returns undefined if there is no such file, and "unknown" where Deno has to be asked: this process has not opened the C
 * library, or is not granted all files, or there is another problem, for which Deno has an error. Requires no permission.
 */
export function factsNow(
  path: string,
  { follow = true }: FollowLinks = {},
): FileFacts | undefined | "unknown" {
  const library = factsLibrary();
  if (library === undefined || path.includes("\0")) return "unknown";
  const result = library.statx(path, follow ? 0 : LIBC.AT_SYMLINK_NOFOLLOW, answer);
  if (result === 0) return decode();
  return result !== undefined && isMissing(library) ? undefined : "unknown";
}

/** Asks the same of an open file; undefined if the C library is too old for it. Requires no permission. */
export function factsOfOpen(library: FactsLibrary, fd: number): FileFacts | undefined {
  return library.fstatx(fd, answer) === 0 ? decode() : undefined;
}

/** Whether the last call failed because there is no such file. Requires no permission. */
export function isMissing(library: FactsLibrary): boolean {
  const reason = errnoOf(library);
  return reason === ENOENT || reason === ENAMETOOLONG;
}

/** Undefined if this process has given the permission back: Deno asks for it again where memory is read. */
function errnoOf(library: FactsLibrary): number | undefined {
  try {
    return library.errno();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

/** Returns the C library, if it is open and Deno grants all files: the library would show those that Deno does not. */
export function factsLibrary(): FactsLibrary | undefined {
  if (library === undefined) return undefined;
  isAllowed ??= Deno.permissions.querySync({ name: "read" }).state === "granted";
  return isAllowed ? library : undefined;
}

function decode(): FileFacts {
  const mode = view.getUint16(stx_mode, true);
  const kind = mode & KIND;
  return {
    isFile: kind === FILE,
    isDirectory: kind === DIRECTORY,
    isSymlink: kind === LINK,
    mode,
    uid: view.getUint32(stx_uid, true),
    size: wholeNumber(stx_size),
    dev: deviceNumber(view.getUint32(stx_dev_major, true), view.getUint32(stx_dev_minor, true)),
    ino: wholeNumber(stx_ino),
    mtimeMs: milliseconds(stx_mtime),
    ctimeMs: milliseconds(stx_ctime),
  };
}

/** As a double, without an object on the way: thousands of files are looked at in a row. */
function wholeNumber(at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

function milliseconds(at: number): number {
  // A time before 1970 is below zero.
  const seconds = view.getInt32(at + tv_sec + 4, true) * 2 ** 32 + view.getUint32(at + tv_sec, true);
  return seconds * 1_000 + Math.floor(view.getUint32(at + tv_nsec, true) / 1_000_000);
}

/** As the C library puts the two parts together; 20 bits of each are in use. */
function deviceNumber(major: number, minor: number): number {
  return (minor & 0xff) + (major & 0xfff) * 0x100 + Math.floor(minor / 0x100) * 0x100000;
}

/** Returns what changes when a file is replaced or written to; undefined without the facts about one. */
export function fileIdentity(stat: FileStat | undefined): string | undefined {
  return stat && [stat.dev, stat.ino, stat.size, stat.mtimeMs].join(":");
}
