import { useForFacts } from "./file_facts.ts";
import { useForDescriptors } from "./inherited.ts";
import { LIBC } from "./libc_constants.ts";

/** What podwire calls of the C library. Numbers below zero mean that {@linkcode Libc.errno} says why. */
export interface Libc {
  /** The reason of the last failure of a call on this thread. Read it right after the call. */
  errno(): number;
  open(path: string, flags: number): number;
  /** Fills `into` with the facts about a file, as `struct statx`; undefined if the library is too old for it. */
  statx(path: string, flags: number, into: Bytes): number | undefined;
  /** The same about an open file. */
  fstatx(fd: number, into: Bytes): number | undefined;
  close(fd: number): void;
  /** Whether a descriptor is open and every program that this process starts inherits it. */
  isInherited(fd: number): boolean;
  /** Reads once into `bytes`, at most `length` of them, from the position of the descriptor. @default {all of them} */
  read(fd: number, bytes: Bytes, length?: number): number;
  write(fd: number, bytes: Bytes): number;
  /** The kind of a namespace, as the flag that makes one. */
  namespaceKind(fd: number): number;
  setns(fd: number, kind: number): number;
  unshare(kinds: number): number;
  mount(source: string | undefined, target: string, flags: number): number;
  umount(target: string, flags: number): number;
  socket(family: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: number): number;
  send(fd: number, bytes: Bytes, flags: number): number;
  /** Receives one message, and fills `from` with the address of its sender. */
  recvfrom(fd: number, bytes: Bytes, flags: number, from: Bytes): number;
  /**
   * {@linkcode Libc.send} on another thread, for what waits in the kernel. There {@linkcode Libc.errno} does not say why it
   * failed.
   */
  sendAway(fd: number, bytes: Bytes, flags: number): Promise<number>;
  /** {@linkcode Libc.recvfrom} on another thread, see {@linkcode Libc.sendAway}. */
  recvfromAway(fd: number, bytes: Bytes, flags: number, from: Bytes): Promise<number>;
  /** Fills `into` with the facts about a file system, as `struct statfs`, on another thread, see {@linkcode Libc.sendAway}. */
  statfsAway(path: string, into: Bytes): Promise<number>;
  /** {@linkcode Libc.umount} on another thread, see {@linkcode Libc.sendAway}. */
  umountAway(target: string, flags: number): Promise<number>;
  /** How many calls are on other threads now. */
  readonly away: number;
}

/** Memory that a call reads or fills. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** The C library of GNU; that of Alpine Linux has another name. */
const NAME = "libc.so.6";
const ARCHITECTURES: readonly string[] = ["x86_64", "aarch64"];

const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32"], result: "i32" },
  // Since glibc 2.28.
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32", optional: true },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  ioctl: { parameters: ["i32", "u64"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  unshare: { parameters: ["i32"], result: "i32" },
  mount: { parameters: ["buffer", "buffer", "buffer", "u64", "pointer"], result: "i32" },
  umount2: { parameters: ["buffer", "i32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recvfrom: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "buffer"], result: "isize" },
  sendAway: {
    name: "send",
    parameters: ["i32", "buffer", "usize", "i32"],
    result: "isize",
    nonblocking: true,
  },
  recvfromAway: {
    name: "recvfrom",
    parameters: ["i32", "buffer", "usize", "i32", "buffer", "buffer"],
    result: "isize",
    nonblocking: true,
  },
  statfsAway: { name: "statfs", parameters: ["buffer", "buffer"], result: "i32", nonblocking: true },
  umount2Away: { name: "umount2", parameters: ["buffer", "i32"], result: "i32", nonblocking: true },
} as const satisfies Deno.ForeignLibraryInterface;

type Symbols = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

let opened: Libc | undefined;

/**
 * Opens the C library, once; it stays open. Requires the whole `--allow-ffi`.
 *
 * @throws If it is not there, or if Deno refuses it.
 */
export function openLibc(): Libc {
  if (opened !== undefined) return opened;
  opened = new DenoLibc(Deno.dlopen(NAME, SYMBOLS).symbols);
  useForFacts(opened);
  useForDescriptors(opened);
  return opened;
}

/**
 * Whether this process can call the C library: the whole `--allow-ffi` is granted, and the machine has the library that
 * podwire knows. Requires no permission, and never prompts.
 */
export function mayCallLibc(): boolean {
  if (Deno.build.os !== "linux" || !ARCHITECTURES.includes(Deno.build.arch)) return false;
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return false;
  try {
    openLibc();
    return true;
  } catch {
    return false;
  }
}

const encoder = new TextEncoder();

/** A text as C has it. */
function cText(text: string): Bytes {
  if (text.includes("\0")) throw new TypeError(`Cannot use ${JSON.stringify(text)}: it contains a null`);
  return encoder.encode(`${text}\0`);
}

const LONGEST_PATH = 4096;
const PRINTABLE = 0x7f;
const pathBytes: Bytes = new Uint8Array(LONGEST_PATH);
const NO_PATH: Bytes = new Uint8Array(1);

/** As {@linkcode cText}, for a call in this turn: thousands of paths are asked for in a row, and nearly all are of ASCII. */
function cPath(path: string): Bytes {
  const { length } = path;
  if (length >= LONGEST_PATH) return cText(path);
  for (let at = 0; at < length; at++) {
    const unit = path.charCodeAt(at);
    if (unit === 0 || unit >= PRINTABLE) return cText(path);
    pathBytes[at] = unit;
  }
  pathBytes[length] = 0;
  return pathBytes;
}

class DenoLibc implements Libc {
  readonly #c: Symbols;
  readonly #errno: Deno.UnsafePointerView;
  /** What the calls on other threads use: without this, memory that is not used afterwards could be freed meanwhile. */
  readonly #held = new Set<readonly Bytes[]>();

  constructor(symbols: Symbols) {
    this.#c = symbols;
    const place = symbols.__errno_location();
    if (place === null) throw new Error("Cannot use the C library: it has no errno");
    // The place is that of this thread, and stays where it is while the thread lives.
    this.#errno = new Deno.UnsafePointerView(place);
  }

  get away(): number {
    return this.#held.size;
  }

  errno(): number {
    return this.#errno.getInt32(0);
  }

  open(path: string, flags: number): number {
    return this.#c.open(cPath(path), flags, 0);
  }

  statx(path: string, flags: number, into: Bytes): number | undefined {
    return this.#c.statx?.(LIBC.AT_FDCWD, cPath(path), flags, LIBC.STATX_BASIC_STATS, into);
  }

  fstatx(fd: number, into: Bytes): number | undefined {
    return this.#c.statx?.(fd, NO_PATH, LIBC.AT_EMPTY_PATH, LIBC.STATX_BASIC_STATS, into);
  }

  close(fd: number): void {
    this.#c.close(fd);
  }

  isInherited(fd: number): boolean {
    const flags = this.#c.fcntl(fd, LIBC.F_GETFD);
    return flags >= 0 && (flags & LIBC.FD_CLOEXEC) === 0;
  }

  read(fd: number, bytes: Bytes, length: number = bytes.length): number {
    return Number(this.#c.read(fd, bytes, BigInt(Math.min(length, bytes.length))));
  }

  write(fd: number, bytes: Bytes): number {
    return Number(this.#c.write(fd, bytes, BigInt(bytes.length)));
  }

  namespaceKind(fd: number): number {
    return this.#c.ioctl(fd, BigInt(LIBC.NS_GET_NSTYPE));
  }

  setns(fd: number, kind: number): number {
    return this.#c.setns(fd, kind);
  }

  unshare(kinds: number): number {
    return this.#c.unshare(kinds);
  }

  mount(source: string | undefined, target: string, flags: number): number {
    const from = cText(source ?? "none");
    return this.#c.mount(from, cText(target), cText("none"), BigInt(flags), null);
  }

  umount(target: string, flags: number): number {
    return this.#c.umount2(cText(target), flags);
  }

  socket(family: number, type: number, protocol: number): number {
    return this.#c.socket(family, type, protocol);
  }

  setsockopt(fd: number, level: number, name: number, value: number): number {
    const bytes = new Uint8Array(Int32Array.of(value).buffer);
    return this.#c.setsockopt(fd, level, name, bytes, bytes.length);
  }

  send(fd: number, bytes: Bytes, flags: number): number {
    return Number(this.#c.send(fd, bytes, BigInt(bytes.length), flags));
  }

  recvfrom(fd: number, bytes: Bytes, flags: number, from: Bytes): number {
    const size = sizeOf(from);
    return Number(this.#c.recvfrom(fd, bytes, BigInt(bytes.length), flags, from, size));
  }

  async sendAway(fd: number, bytes: Bytes, flags: number): Promise<number> {
    using _held = this.#hold(bytes);
    return Number(await this.#c.sendAway(fd, bytes, BigInt(bytes.length), flags));
  }

  async recvfromAway(fd: number, bytes: Bytes, flags: number, from: Bytes): Promise<number> {
    const size = sizeOf(from);
    using _held = this.#hold(bytes, from, size);
    return Number(await this.#c.recvfromAway(fd, bytes, BigInt(bytes.length), flags, from, size));
  }

  async statfsAway(path: string, into: Bytes): Promise<number> {
    const name = cText(path);
    using _held = this.#hold(name, into);
    return await this.#c.statfsAway(name, into);
  }

  async umountAway(target: string, flags: number): Promise<number> {
    const path = cText(target);
    using _held = this.#hold(path);
    return await this.#c.umount2Away(path, flags);
  }

  #hold(...bytes: readonly Bytes[]): Disposable {
    this.#held.add(bytes);
    return { [Symbol.dispose]: () => this.#held.delete(bytes) };
  }
}

function sizeOf(bytes: Bytes): Bytes {
  return new Uint8Array(Uint32Array.of(bytes.length).buffer);
}
