import { errnoWords } from "../host/errno.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import type { Bytes, Libc } from "../host/libc.ts";
import { LIBC } from "../host/libc_constants.ts";
import { SysctlError } from "./kernel.ts";

const EIO = 5;
/** More than any number of one digit needs. */
const VALUE_BYTES = 64;
/** As much as `cat` reads at once: of some files the kernel gives only the first piece. */
const PIECE_BYTES = 128 * 1024;

/**
 * Sets kernel parameters in the namespace where the calling thread is. A parameter that has its value already is not
 * written: /proc/sys may be read-only. Returns why a required one is not set, as a sentence without a full stop.
 */
export function setSysctls(libc: Libc, sysctls: readonly Sysctl[]): string | undefined {
  for (const { name, value, required = false } of sysctls) {
    const path = `/proc/sys/${name}`;
    if (readValue(libc, path) === value) continue;
    const errno = writeValue(libc, path, value);
    if (!required) continue;
    const what = `the kernel parameter ${JSON.stringify(name)}`;
    if (errno !== 0) return `${what} cannot be set to ${value}: ${errnoWords(errno)}`;
    const now = readValue(libc, path);
    if (now !== value) return `${what} stays ${JSON.stringify(now ?? "")}`;
  }
  return undefined;
}

/** Returns the values of those parameters that can be read, in the namespace where the calling thread is. */
export function readSysctls(libc: Libc, names: readonly string[]): ReadonlyMap<string, string> {
  const piece: Bytes = new Uint8Array(PIECE_BYTES);
  return new Map(names.flatMap((name) => {
    const text = readText(libc, `/proc/sys/${name}`, piece);
    return text === undefined ? [] : [[name, text.replace(/\n+$/, "")] as const];
  }));
}

/**
 * Sets parameters in the namespace where the calling thread is, one after another.
 *
 * @throws {SysctlError} Naming the first one that cannot be set.
 */
export function writeSysctls(libc: Libc, values: ReadonlyMap<string, string>): void {
  for (const [name, value] of values) {
    const errno = writeValue(libc, `/proc/sys/${name}`, value);
    if (errno !== 0) throw new SysctlError(name, errnoWords(errno));
  }
}

/** The first line of a file; undefined if it cannot be read. */
function readValue(libc: Libc, path: string): string | undefined {
  return readText(libc, path, new Uint8Array(VALUE_BYTES))?.split("\n")[0];
}

/** The text of a file, read in pieces; undefined if it cannot be read. */
function readText(libc: Libc, path: string, piece: Bytes): string | undefined {
  const fd = libc.open(path, LIBC.O_RDONLY | LIBC.O_CLOEXEC);
  if (fd < 0) return undefined;
  try {
    const decoder = new TextDecoder();
    for (let text = "";;) {
      const length = libc.read(fd, piece);
      if (length < 0) return undefined;
      if (length === 0) return text + decoder.decode();
      text += decoder.decode(piece.subarray(0, length), { stream: true });
    }
  } finally {
    libc.close(fd);
  }
}

/** Returns the number of the error; 0 if there was none. */
function writeValue(libc: Libc, path: string, value: string): number {
  const fd = libc.open(path, LIBC.O_WRONLY | LIBC.O_CLOEXEC);
  if (fd < 0) return libc.errno();
  try {
    // Of a long value the kernel takes one page at once.
    for (let left: Bytes = new TextEncoder().encode(`${value}\n`); left.length > 0;) {
      const length = libc.write(fd, left);
      if (length <= 0) return length < 0 ? libc.errno() : EIO;
      left = left.subarray(length);
    }
    return 0;
  } finally {
    libc.close(fd);
  }
}
