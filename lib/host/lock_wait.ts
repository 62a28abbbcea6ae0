import { HostError, type RunCommand, runCommand } from "./command.ts";
import { type Lock, lockFile, tryLockFile } from "./lock.ts";
import { describeHolders, lockHolders } from "./lock_holder.ts";

/** Options of {@linkcode waitForLock}. */
export interface LockWaitOptions {
  /** The name of the lock for messages, as in "the lock of container web". */
  readonly what: string;
  /** Milliseconds after which the wait fails. */
  readonly limitMs: number;
  /** Any number of holders may share the lock. @default {false} */
  readonly shared?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with a sentence after a second, and every ten seconds from then on. */
  readonly onSlow?: ((sentence: string) => void) | undefined;
  /** Runs the program that finds out which processes hold the lock. @default {runCommand} */
  readonly run?: RunCommand | undefined;
}

const FIRST_NOTICE_MS = 1_000;
const NEXT_NOTICES_MS = 10_000;

/**
 * Waits for the lock of a file, up to a limit: a long wait is explained, and a wait beyond the limit is an error; both name
 * the process that holds the lock.
 *
 * Permissions: `--allow-read` and `--allow-write` for the file; `--allow-run=cat` to find out which process holds it.
 *
 * @throws {HostError} reason `lock-timeout`
 * @throws The reason of `signal`, if that fires first.
 */
export async function waitForLock(path: string, options: LockWaitOptions): Promise<Lock> {
  const { what, limitMs, shared = false, signal, run = runCommand } = options;
  signal?.throwIfAborted();
  const free = await tryLockFile(path, { shared });
  if (free !== undefined) return free;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), limitMs);
  const notices = options.onSlow && giveNotices(path, what, options.onSlow, run);
  try {
    const either = signal === undefined ? limit.signal : AbortSignal.any([signal, limit.signal]);
    return await lockFile(path, { shared, signal: either });
  } catch (error) {
    signal?.throwIfAborted();
    if (!limit.signal.aborted) throw error;
    const holders = describeHolders(await lockHolders(path, run));
    const message = `Cannot get ${what} within ${limitMs / 1_000}s: it is held by ${holders}`;
    throw new HostError(message, { reason: "lock-timeout" });
  } finally {
    clearTimeout(timer);
    notices?.[Symbol.dispose]();
  }
}

function giveNotices(
  path: string,
  what: string,
  onSlow: (sentence: string) => void,
  run: RunCommand,
): Disposable {
  let isOver = false;
  const notify = async () => {
    timer = setTimeout(notify, NEXT_NOTICES_MS);
    const holders = await lockHolders(path, run);
    if (!isOver) onSlow(`still waiting for ${what}, held by ${describeHolders(holders)}`);
  };
  let timer = setTimeout(notify, FIRST_NOTICE_MS);
  return {
    [Symbol.dispose]() {
      isOver = true;
      clearTimeout(timer);
    },
  };
}
