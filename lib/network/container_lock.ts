import { ensureDir, listDir } from "../host/file.ts";
import { type Lock, lockFile, tryLockFile } from "../host/lock.ts";
import { CniError } from "../spec/error.ts";

/** NAME_MAX of Linux, less the ending of a lock file. */
const LONGEST_ID = 250;

/**
 * Locks across processes, under `/run/podwire`.
 *
 * Order: the gc lock (shared by whoever changes attachments, exclusive for a sweep), then the
 * container's own, then the one over the names or the one over the ports. A container's lock file
 * exists exactly while an operation on it is under way; one that is left behind and free tells of a
 * crash.
 */
export class ContainerLocks {
  readonly #dir: string;

  constructor(runDir: string) {
    this.#dir = runDir;
  }

  /** Waits for the container's lock, until the signal fires. */
  async lock(containerId: string, signal?: AbortSignal): Promise<Lock> {
    await ensureDir(`${this.#dir}/containers`, 0o700);
    return await lockFile(this.#path(containerId), signal === undefined ? {} : { signal });
  }

  /** The container's lock if nobody has it. */
  async tryLock(containerId: string): Promise<Lock | undefined> {
    await ensureDir(`${this.#dir}/containers`, 0o700);
    return await tryLockFile(this.#path(containerId));
  }

  /** The containers whose lock file exists: operations under way, and those that crashed. */
  async present(): Promise<readonly string[]> {
    const names = await listDir(`${this.#dir}/containers`);
    return names.filter((name) => name.endsWith(".lock")).map((name) => name.slice(0, -".lock".length));
  }

  /** The lock that excludes a sweep over all containers; shared by everybody else. */
  async sweep(options: { shared: boolean; signal?: AbortSignal }): Promise<Lock> {
    await ensureDir(this.#dir, 0o700);
    return await lockFile(`${this.#dir}/gc.lock`, options);
  }

  /** The lock over the names of sandboxes. */
  async names(signal?: AbortSignal): Promise<Lock> {
    await ensureDir(this.#dir, 0o700);
    return await lockFile(`${this.#dir}/names.lock`, signal === undefined ? {} : { signal });
  }

  /** The lock over the ports of the host. */
  async ports(signal?: AbortSignal): Promise<Lock> {
    await ensureDir(this.#dir, 0o700);
    return await lockFile(`${this.#dir}/ports.lock`, signal === undefined ? {} : { signal });
  }

  #path(containerId: string): string {
    if (containerId.length > LONGEST_ID) {
      throw new CniError("usage", "the container ID is too long", {
        details: `it has ${containerId.length} characters, of at most ${LONGEST_ID}`,
      });
    }
    return `${this.#dir}/containers/${containerId}.lock`;
  }
}

/**
 * Runs `body` while holding the container's lock and takes the lock file away at the end: it stays
 * only when the process is killed, which is how recovery finds what was interrupted.
 */
export async function withContainerLock<T>(
  locks: ContainerLocks,
  containerId: string,
  signal: AbortSignal | undefined,
  body: () => Promise<T>,
): Promise<T> {
  using lock = await locks.lock(containerId, signal);
  try {
    return await body();
  } finally {
    await lock.remove();
  }
}
