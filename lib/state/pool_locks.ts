import { delay } from "../async/wait.ts";
import { listDir, statOf } from "../host/file.ts";
import { type Lock, lockFile, tryLockFile } from "../host/lock.ts";
import { LONGER_THAN_A_PROBE_MS } from "./container_locks.ts";

/** The locks of pools of warm sandboxes. The process that owns a pool holds its lock for as long as it lives. */
export class PoolLocks {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Takes the lock of a pool. */
  async lock(id: string): Promise<Lock> {
    return await lockFile(this.#path(id));
  }

  /** Whether the process that owns the pool is alive. */
  async isHeld(id: string): Promise<boolean> {
    if (!await this.#isLocked(id)) return false;
    // A process that removes abandoned locks lets go at once, and has removed the file by then.
    await delay(LONGER_THAN_A_PROBE_MS);
    return await this.#isLocked(id);
  }

  /** Removes the locks that killed processes left. */
  async removeAbandoned(): Promise<void> {
    for (const name of await listDir(this.#dir)) {
      using lock = await tryLockFile(`${this.#dir}/${name}`, { create: false });
      await lock?.remove();
    }
  }

  async #isLocked(id: string): Promise<boolean> {
    const path = this.#path(id);
    if (await statOf(path) === undefined) return false;
    using lock = await tryLockFile(path, { shared: true, create: false });
    return lock === undefined;
  }

  #path(id: string): string {
    return `${this.#dir}/${id}.lock`;
  }
}
