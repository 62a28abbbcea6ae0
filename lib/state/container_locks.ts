import { inParallel } from "../async/parallel.ts";
import { delay } from "../async/wait.ts";
import { CniError } from "../cni/error.ts";
import { listDir, statOwn } from "../host/file.ts";
import { type Lock, tryLockFile } from "../host/lock.ts";
import type { LockWaiter } from "./lock_waiter.ts";

/** NAME_MAX of Linux, less the ending of a lock file. */
const LONGEST_ID = 250;
/** A process that only probes whether a lock is held lets go of it within this time. */
export const LONGER_THAN_A_PROBE_MS = 5;
const PROBES_AT_ONCE = 16;

/** A time during which this process holds the lock of a container. */
export interface Hold {
  readonly containerId: string;
}

/**
 * One lock for each container. Its file exists exactly while an operation on the container is in progress. A file that
 * exists and is not locked was abandoned: its process was killed.
 */
export class ContainerLocks {
  readonly #dir: string;
  readonly #waiter: LockWaiter;
  readonly #requireKnownFormat: () => Promise<void>;
  readonly #held = new Map<string, Hold>();

  constructor(dir: string, waiter: LockWaiter, requireKnownFormat: () => Promise<void>) {
    this.#dir = dir;
    this.#waiter = waiter;
    this.#requireKnownFormat = requireKnownFormat;
  }

  /**
   * Waits for the container's lock, until the signal fires.
   *
   * @throws {HostError} reason `lock-timeout` if the wait lasts too long
   */
  async lock(containerId: string, signal?: AbortSignal): Promise<Lock> {
    await this.#requireKnownFormat();
    const what = `the lock of container "${containerId}"`;
    return await this.#waiter.wait({ kind: "container", path: this.#path(containerId), what, signal });
  }

  /**
   * Waits for the container's lock, and holds it until the end of the block: `await using _lock = await locks.hold(id)`.
   * Then it removes the lock file. The file stays only if the process is killed: so recovery finds the operations that
   * were interrupted.
   *
   * @throws {HostError} reason `lock-timeout` if the wait lasts too long
   */
  async hold(containerId: string, signal?: AbortSignal): Promise<AsyncDisposable> {
    return this.#begin(containerId, await this.lock(containerId, signal));
  }

  /**
   * Same as {@linkcode ContainerLocks.hold} if no operation on the container is in progress and none was interrupted; otherwise
   * returns undefined.
   */
  async tryHold(containerId: string): Promise<AsyncDisposable | undefined> {
    if (await this.hasFile(containerId)) return undefined;
    const lock = await this.tryLock(containerId);
    return lock === undefined ? undefined : this.#begin(containerId, lock);
  }

  #begin(containerId: string, lock: Lock): AsyncDisposable {
    const held = this.#held;
    held.set(containerId, { containerId });
    return {
      async [Symbol.asyncDispose]() {
        using _released = lock;
        held.delete(containerId);
        await lock.remove();
      },
    };
  }

  /** Returns the same object as long as {@linkcode ContainerLocks.hold} holds the lock, another one the next time. */
  holdOf(containerId: string): Hold | undefined {
    return this.#held.get(containerId);
  }

  /** Takes the container's lock if no other process holds it. */
  async tryLock(containerId: string): Promise<Lock | undefined> {
    await this.#requireKnownFormat();
    const path = this.#path(containerId);
    const lock = await tryLockFile(path);
    if (lock !== undefined) return lock;
    await delay(LONGER_THAN_A_PROBE_MS);
    return await tryLockFile(path);
  }

  /**
   * Takes the container's lock if a killed process abandoned its file. An operation that ends removes its file before it
   * releases the lock, so a file that is not locked was abandoned.
   */
  async tryLockAbandoned(containerId: string): Promise<Lock | undefined> {
    await this.#requireKnownFormat();
    const path = this.#path(containerId);
    const lock = await tryLockFile(path, { create: false });
    if (lock !== undefined || !await this.hasFile(containerId)) return lock;
    await delay(LONGER_THAN_A_PROBE_MS);
    return await tryLockFile(path, { create: false });
  }

  /** Returns the containers whose lock file exists: those with an operation in progress, and those whose operation crashed. */
  async list(): Promise<readonly string[]> {
    const names = await listDir(this.#dir);
    return names.filter((name) => name.endsWith(".lock")).map((name) => name.slice(0, -".lock".length));
  }

  /** Returns the containers whose lock file a killed process abandoned. Disturbs no operation. */
  async listAbandoned(): Promise<readonly string[]> {
    const ids = await this.list();
    const isAbandoned = async (id: string) => {
      // An operation leaves only regular files.
      if (!(await statOwn(this.#path(id)))?.isFile) return false;
      // Shared, so that several probes at once do not take each other for an operation.
      using lock = await tryLockFile(this.#path(id), { shared: true, create: false });
      return lock !== undefined;
    };
    const abandoned = await inParallel(ids, PROBES_AT_ONCE, isAbandoned);
    return ids.filter((_, index) => abandoned[index]);
  }

  /** Whether an operation on the container is in progress. Creates no lock file. */
  async isBusy(containerId: string): Promise<boolean> {
    if (!await this.hasFile(containerId)) return false;
    using lock = await tryLockFile(this.#path(containerId), { shared: true, create: false });
    // The operation has ended if the file is gone by now.
    return lock === undefined && await this.hasFile(containerId);
  }

  /** Whether the container's lock file exists, held or abandoned. */
  async hasFile(containerId: string): Promise<boolean> {
    return await statOwn(this.#path(containerId)) !== undefined;
  }

  #path(containerId: string): string {
    if (containerId.length > LONGEST_ID) {
      throw new CniError("usage", "the container ID is too long", {
        details: `it has ${containerId.length} characters, of at most ${LONGEST_ID}`,
      });
    }
    return `${this.#dir}/${containerId}.lock`;
  }
}

/**
 * Runs `body` while holding the container's lock if no other process holds it, and otherwise returns `isBusy: true`. A lock
 * file that a killed process abandoned stays in place, because recovery still has to handle the interrupted operation.
 */
export async function tryContainerLock<T>(
  { containers }: { readonly containers: ContainerLocks },
  containerId: string,
  body: () => Promise<T>,
): Promise<{ readonly isBusy: true } | { readonly isBusy: false; readonly value: T }> {
  // It is not enough that the file exists: an operation that is just ending removes its file a moment later.
  using abandoned = await containers.tryLockAbandoned(containerId);
  if (abandoned !== undefined) return { isBusy: false, value: await body() };
  if (await containers.hasFile(containerId)) return { isBusy: true };
  using lock = await containers.tryLock(containerId);
  if (lock === undefined) return { isBusy: true };
  try {
    return { isBusy: false, value: await body() };
  } finally {
    await lock.remove();
  }
}
