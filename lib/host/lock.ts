import { dirname } from "@std/path/posix";
import { delay } from "../async/wait.ts";
import { ensureDir, removeIfThere } from "./file.ts";

/** Options of {@linkcode tryLockFile}. */
export interface TryLockOptions {
  /** Any number of holders may share the lock. @default {false} */
  readonly shared?: boolean | undefined;
  /** Whether a missing file is created; without, there is nothing to lock. @default {true} */
  readonly create?: boolean | undefined;
  /** Whether it is only read, and never created, as a namespace has to be. @default {false} */
  readonly readOnly?: boolean | undefined;
}

/** Options of {@linkcode lockFile}. */
export interface LockOptions extends Omit<TryLockOptions, "create"> {
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
}

/** A lock that is held until disposed of, or until the process ends. */
export interface Lock extends Disposable {
  readonly path: string;
  /**
   * Removes the lock file; the last step of the exclusive holder. A process that waits for the lock then finds that it locked
   * a removed file, and locks a new one.
   */
  remove(): Promise<void>;
}

const FIRST_WAIT_MS = 1;
/** Longest pause between two attempts to take a lock. */
export const LONGEST_WAIT_MS = 50;

/**
 * Waits for the lock of a file, as `flock` of util-linux does, and creates the file and its directory if they are missing.
 * A directory can be locked too. Locks belong to open files, so they also work inside one process.
 *
 * Requires `--allow-read` and `--allow-write`.
 *
 * @throws The reason of `signal`, if that fires first.
 *
 * @example
 * ```ts
 * import { lockFile } from "./lock.ts";
 *
 * using _lock = await lockFile("/tmp/podwire-example.lock", { signal: AbortSignal.timeout(1_000) });
 * ```
 */
export async function lockFile(path: string, { signal, ...how }: LockOptions = {}): Promise<Lock> {
  // A loop of attempts: a waiting flock(2) cannot be cancelled when the signal fires, the kernel does not notify when a lock
  // becomes free, and each waiting call would hold one of the 32 threads that Deno has for all of its files.
  for (let wait = FIRST_WAIT_MS;; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    signal?.throwIfAborted();
    const lock = await tryLockFile(path, how);
    if (lock) return lock;
    await delay(wait, signal);
  }
}

/** Takes the lock of a file as {@linkcode lockFile} does, or returns undefined if it is held elsewhere. */
export async function tryLockFile(
  path: string,
  { shared = false, create = true, readOnly = false }: TryLockOptions = {},
): Promise<Lock | undefined> {
  const open = () => readOnly ? Deno.openSync(path, { read: true }) : openForLock(path, create);
  try {
    return tryLockFileSync(path, shared, open);
  } catch (error) {
    if (readOnly || !(error instanceof Deno.errors.NotFound)) throw error;
    if (!create) return undefined;
  }
  await ensureDir(dirname(path), 0o700);
  return tryLockFileSync(path, shared, open);
}

/**
 * Opens and locks the file in one turn of the event loop: another operation of this process that found the file between the
 * two would take it for one that a killed process abandoned.
 */
function tryLockFileSync(path: string, shared: boolean, open: () => Deno.FsFile): Lock | undefined {
  for (;;) {
    const file = open();
    try {
      if (!file.tryLockSync(!shared)) {
        file.close();
        return undefined;
      }
      if (isStillAt(path, file)) return new HeldLock(path, file, shared);
    } catch (error) {
      file.close();
      throw error;
    }
    // Its holder removed the file after it was opened here and before it was locked.
    file.close();
  }
}

function openForLock(path: string, create: boolean): Deno.FsFile {
  try {
    return Deno.openSync(path, { read: true, write: true, ...(create ? { create, mode: 0o600 } : {}) });
  } catch (error) {
    if (error instanceof Deno.errors.IsADirectory) return Deno.openSync(path, { read: true });
    throw error;
  }
}

function isStillAt(path: string, file: Deno.FsFile): boolean {
  const held = file.statSync();
  try {
    const there = Deno.statSync(path);
    return held.dev === there.dev && held.ino === there.ino;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

class HeldLock implements Lock {
  #file: Deno.FsFile | undefined;

  constructor(readonly path: string, file: Deno.FsFile, readonly shared: boolean) {
    this.#file = file;
  }

  async remove(): Promise<void> {
    if (this.#file === undefined || this.shared) {
      throw new TypeError(`Cannot remove lock file "${this.path}": not held exclusively`);
    }
    await removeIfThere(this.path);
  }

  [Symbol.dispose](): void {
    const file = this.#file;
    this.#file = undefined;
    if (file === undefined) return;
    // Closing is not enough: a child that is starting holds a copy of the descriptor until its program is loaded.
    file.unlockSync();
    file.close();
  }
}
