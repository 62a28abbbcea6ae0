import type { RunCommand } from "../host/command.ts";
import {
  readTextIfThere,
  removeIfThere,
  statOf,
  UnreadableFileError,
  writeFileSynced,
} from "../host/file.ts";
import { type Lock, tryLockFile } from "../host/lock.ts";
import { RunningPrograms } from "../host/running_programs.ts";
import type { LockWaiter } from "./lock_waiter.ts";
import { shortName } from "./short_name.ts";

/**
 * The gc lock of each network, across processes: exclusive while the plugins of the network are asked to clean up, shared
 * by every ADD and DEL of an attachment to it.
 *
 * An operation takes it inside the container's lock, for one attachment, and lets go of it before the next: so nobody
 * holds two of them while waiting, and pods with several networks cannot block each other. A sweep that holds one
 * exclusively waits for no other lock.
 *
 * Source: CNI specification 1.1.0, section 3 "Lifecycle & Ordering".
 */
export class NetworkLocks {
  readonly #dir: string;
  readonly #waiter: LockWaiter;
  readonly #running: RunningPrograms;

  constructor(runDir: string, waiter: LockWaiter, run?: RunCommand) {
    this.#dir = `${runDir}/gc`;
    this.#waiter = waiter;
    this.#running = new RunningPrograms(runDir, run);
  }

  /** Keeps the GC verb away from the network while something is attached to it or detached. */
  async share(network: string, signal?: AbortSignal): Promise<Lock> {
    return await this.#hold(network, { shared: true, signal });
  }

  /** Keeps ADD and DEL away from the network. Waiting for it keeps nobody from sharing the lock. */
  async exclude(network: string, signal?: AbortSignal): Promise<Lock> {
    return await this.#hold(network, { shared: false, signal });
  }

  /**
   * The kernel takes the lock from a process that is killed, but not its plugins, which go on with a list that grows
   * old: whoever has the lock next ends them first.
   */
  async #hold(
    network: string,
    options: { shared: boolean; signal?: AbortSignal | undefined },
  ): Promise<Lock> {
    const { shared, signal } = options;
    const what = shared
      ? `the plugins of network "${network}" to clean up (its gc lock)`
      : `a moment in which nothing is attached to network "${network}" (its gc lock)`;
    const lock = await this.#waiter.wait({
      kind: "gc",
      path: this.#path(network, "lock"),
      what,
      shared,
      signal,
    });
    try {
      await this.#endCollecting(network, signal);
      if (shared) await this.#onMark(network, removeIfThere);
      return lock;
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  /** Runs what plugins clean up in. The caller holds the exclusive lock of the network. */
  async collecting<T>(network: string, body: () => Promise<T>): Promise<T> {
    const file = this.#path(network, "collecting");
    await writeFileSynced(file, "");
    try {
      return await body();
    } finally {
      await removeIfThere(file);
    }
  }

  /** Several that share the lock may do this at once, and nobody begins to collect meanwhile. */
  async #endCollecting(network: string, signal: AbortSignal | undefined): Promise<void> {
    const file = this.#path(network, "collecting");
    if (await statOf(file) === undefined) return;
    // Those of other networks too, if their callers were killed: plugins of callers that live are left alone.
    await this.#running.endAbandoned(({ task }) => task === "GC", signal);
    await removeIfThere(file);
  }

  /** Leaves a mark that the next ADD or DEL takes away first. The caller holds the exclusive lock of the network. */
  async mark(network: string, mark: string): Promise<void> {
    await this.#onMark(network, (file) => writeFileSynced(file, mark));
  }

  /** What is no file is no mark, and cannot be made one: who looks for it then reads the records. */
  async #onMark(network: string, body: (file: string) => Promise<unknown>): Promise<void> {
    const file = this.#path(network, "mark");
    try {
      await body(file);
    } catch (error) {
      if ((await statOf(file))?.isFile !== false) throw error;
    }
  }

  /** Leaves the mark if nothing is being attached or detached at this moment. */
  async tryMark(network: string, mark: string): Promise<void> {
    using lock = await tryLockFile(this.#path(network, "lock"));
    if (lock !== undefined) await this.mark(network, mark);
  }

  /** Whether nothing was attached or detached since the mark. The caller holds the exclusive lock of the network. */
  async isMarked(network: string, mark: string): Promise<boolean> {
    try {
      return await readTextIfThere(this.#path(network, "mark")) === mark;
    } catch (error) {
      if (error instanceof UnreadableFileError) return false;
      throw error;
    }
  }

  #path(network: string, ending: "lock" | "collecting" | "mark"): string {
    return `${this.#dir}/${shortName(network)}.${ending}`;
  }
}
