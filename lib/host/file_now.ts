// Single steps on files of podwire, in the same turn of the event loop: between two of them no other work of the process
// runs, and a step takes a fraction of the time that it takes through a thread.

import { readTextNow, removeNow, tempNameFor, writeAll } from "./file.ts";
import { lstatNow } from "./stat.ts";

/** Returns the names in a directory, in no order; none if it does not exist. Requires `--allow-read`. */
export function namesNow(dir: string): string[] {
  return unlessMissing(() => Array.from(Deno.readDirSync(dir), ({ name }) => name), []);
}

/** Whether something is at a path; a symbolic link counts, wherever it leads to. Requires `--allow-read`. */
export function isThereNow(path: string): boolean {
  return lstatNow(path) !== undefined;
}

/** Whether two paths are names of one file; false if one of them does not exist. Requires `--allow-read`. */
export function isOneFileNow(path: string, other: string): boolean {
  return unlessMissing(() => {
    const [a, b] = [Deno.lstatSync(path), Deno.lstatSync(other)];
    return a.dev === b.dev && a.ino !== null && a.ino === b.ino;
  }, false);
}

/**
 * Makes a file with this text, readable for its owner only. If the text does not fit on the disk, no file is left. Requires
 * `--allow-write`.
 *
 * @throws {Deno.errors.AlreadyExists} If there is one.
 */
export function makeNow(path: string, text: string): void {
  try {
    Deno.writeTextFileSync(path, text, { createNew: true, mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) removeNow(path);
    throw error;
  }
}

/**
 * Makes a file have this text, in its place and without a moment in which it is empty. To replace a file, also by a rename,
 * or one that was made empty, ext4 writes to the disk at once. A process that is killed in between may leave the beginning
 * of the new text and the end of the former one. Anything else in its place is replaced: to open a FIFO would wait for its
 * other end. A new file is readable for its owner only. Requires `--allow-read` and `--allow-write`.
 */
export function overwriteNow(path: string, text: string): void {
  if (lstatNow(path)?.isFile !== true) {
    removeNow(path);
    return makeNow(path, text);
  }
  const bytes = new TextEncoder().encode(text);
  using file = Deno.openSync(path, { write: true });
  const { size } = file.statSync();
  writeAll(file, bytes);
  if (size > bytes.length) file.truncateSync(bytes.length);
}

/** Returns the first bytes of a regular file as text; undefined if there is none. Requires `--allow-read`. */
export function beginningNow(path: string, length: number): string | undefined {
  if (lstatNow(path)?.isFile !== true) return undefined;
  return unlessMissing(() => {
    using file = Deno.openSync(path, { read: true });
    const bytes = new Uint8Array(length);
    return new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0));
  }, undefined);
}

/**
 * Appends text to a file that is there, and then writes its first bytes again, which are as long as before. Requires
 * `--allow-read` and `--allow-write`.
 */
export function appendNow(path: string, text: string, beginning: string): void {
  using file = Deno.openSync(path, { read: true, write: true });
  const encoder = new TextEncoder();
  file.seekSync(0, Deno.SeekMode.End);
  writeAll(file, encoder.encode(text));
  file.seekSync(0, Deno.SeekMode.Start);
  writeAll(file, encoder.encode(beginning));
}

/**
 * Makes a file with this text that all may read, whole from the moment when it has its name, or writes the text into the file
 * that is there: who has it bound over another file goes on to see it. Returns whether anything was written. Requires
 * `--allow-read` and `--allow-write`.
 */
export function publishNow(path: string, text: string): boolean {
  if (lstatNow(path)?.isFile === true) {
    if (readTextNow(path) === text) return false;
    overwriteNow(path, text);
    return true;
  }
  removeNow(path);
  const temp = tempNameFor(path);
  try {
    Deno.writeTextFileSync(temp, text, { createNew: true, mode: 0o644 });
    Deno.renameSync(temp, path);
  } catch (error) {
    removeNow(temp);
    throw error;
  }
  return true;
}

const MOST_ATTEMPTS = 100;

/**
 * Runs `step`, which writes into the directory; if that does not exist, makes it for its owner only and runs `step` again. The
 * directory may be removed in between, by another process that found it empty. Requires `--allow-write`.
 */
export function inDirNow(dir: string, step: () => void): void {
  for (let attempt = 1;; attempt++) {
    try {
      return step();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound) || attempt === MOST_ATTEMPTS) throw error;
    }
    Deno.mkdirSync(dir, { recursive: true, mode: 0o700 });
  }
}

/** Removes a directory with all that is in it; returns false if there is none. Requires `--allow-write`. */
export function removeTreeNow(path: string): boolean {
  return unlessMissing(() => {
    Deno.removeSync(path, { recursive: true });
    return true;
  }, false);
}

/** Sets when a file was read and changed last, in milliseconds since 1970. Requires `--allow-write`. */
export function setTimesNow(path: string, ms: number): void {
  Deno.utimeSync(path, new Date(ms), new Date(ms));
}

/**
 * Gives a file a second name; returns false if that name is taken. Requires `--allow-read` and `--allow-write` for both.
 */
export function linkNow(path: string, name: string): boolean {
  try {
    Deno.linkSync(path, name);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  }
}

function unlessMissing<T>(step: () => T, otherwise: T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return otherwise;
    throw error;
  }
}
