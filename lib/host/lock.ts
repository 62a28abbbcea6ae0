import { ensureDir, removeIfThere } from "./file.ts";
import { dirname } from "@std/path/posix";
import { delay } from "../async/wait.ts";

/** Options of {@linkcode tryLockFile}. */
export interface TryLockOptions {
  /** Many may hold a shared lock at once. @default {false} */
  readonly shared?: boolean | undefined;
  /** Whether a file that is not there is made; else there is nothing to lock. @default {true} */
  readonly create?: boolean | undefined;
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
   * Removes the lock file, as the last thing that the exclusive holder does: whoever waits then finds that it has
   * locked a file of the past, and others can lock a new one from now on.
   */
  remove(): Promise<void>;
}

const FIRST_WAIT_MS = 1;
/** Whoever waits for a lock looks at least as often. */
export const LONGEST_WAIT_MS = 50;

/**
 * Waits for the lock of a file, as `flock` of util-linux does, and makes the file and its directory if they are not
 * there. A directory can be locked too. Locks are between open files, so they also hold inside one process.
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
export async function lockFile(path: string, { signal, shared = false }: LockOptions = {}): Promise<Lock> {
  // Asked for again and again: flock(2) cannot be called back when the signal fires, the kernel tells nobody that a
  // lock became free, and each call that waits would hold one of the 32 threads that Deno has for all of its files.
  for (let wait = FIRST_WAIT_MS;; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    signal?.throwIfAborted();
    const lock = await tryLockFile(path, { shared });
    if (lock) return lock;
    await delay(wait, signal);
  }
}

/** Takes the lock of a file as {@linkcode lockFile} does, or gives undefined where others hold it. */
export async function tryLockFile(
  path: string,
  { shared = false, create = true }: TryLockOptions = {},
): Promise<Lock | undefined> {
  for (;;) {
    const file = await openForLock(path, create);
    if (file === undefined) return undefined;
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
    // Its holder removed the file between our opening and our locking it.
    file.close();
  }
}

async function openForLock(path: string, create: boolean): Promise<Deno.FsFile | undefined> {
  const options = create ? { create, mode: 0o600 } : {};
  const open = () => Deno.open(path, { read: true, write: true, ...options });
  try {
    return await open();
  } catch (error) {
    if (error instanceof Deno.errors.IsADirectory) return await Deno.open(path, { read: true });
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    if (!create) return undefined;
  }
  await ensureDir(dirname(path), 0o700);
  return await open();
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
    // Closing is not enough: a child being started holds a copy of the descriptor until its program is loaded.
    file.unlockSync();
    file.close();
  }
}
