import type { RunCommand } from "../host/command.ts";
import {
  readTextIfThere,
  removeIfThere,
  statOwn,
  UnreadableFileError,
  writeFileSynced,
} from "../host/file.ts";
import { type Lock, tryLockFile } from "../host/lock.ts";
import { RunningPrograms } from "../host/running_programs.ts";
import type { LockWaiter } from "./lock_waiter.ts";
import { shortName } from "./short_name.ts";

/**
 * The gc lock of each network, across processes: exclusive while the plugins of the network run GC, shared by every ADD and
 * DEL of an attachment to it.
 *
 * An operation takes the lock while it holds the container's lock, for one attachment, and releases it before the next. So
 * no operation holds two of them while waiting, and pods with several networks cannot block each other. A sweep that holds
 * one exclusively waits for no other lock.
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

  /** Keeps ADD and DEL away from the network. Others can still share the lock while this waits. */
  async exclude(network: string, signal?: AbortSignal): Promise<Lock> {
    return await this.#hold(network, { shared: false, signal });
  }

  /**
   * The kernel releases the lock of a killed process, but its plugins go on with a list that gets out of date. So the next
   * holder of the lock ends them first.
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

  /** Runs the GC of the plugins, with a marker on disk. The caller holds the exclusive lock of the network. */
  async collecting<T>(network: string, body: () => Promise<T>): Promise<T> {
    const file = this.#path(network, "collecting");
    await writeFileSynced(file, "");
    try {
      return await body();
    } finally {
      await removeIfThere(file);
    }
  }

  /** Several holders of the shared lock may do this at once. No GC can begin meanwhile. */
  async #endCollecting(network: string, signal: AbortSignal | undefined): Promise<void> {
    const file = this.#path(network, "collecting");
    if (await statOwn(file) === undefined) return;
    // Includes those of other networks whose callers were killed. Plugins of callers that are alive are left alone.
    await this.#running.endAbandoned(({ task }) => task === "GC", signal);
    await removeIfThere(file);
  }

  /** Writes a mark that the next ADD or DEL removes. The caller holds the exclusive lock of the network. */
  async mark(network: string, mark: string): Promise<void> {
    await this.#onMark(network, (file) => writeFileSynced(file, mark));
  }

  /** Something that is not a file is not a mark, and stays: without a mark the records are read. */
  async #onMark(network: string, body: (file: string) => Promise<unknown>): Promise<void> {
    const file = this.#path(network, "mark");
    try {
      await body(file);
    } catch (error) {
      if ((await statOwn(file))?.isFile !== false) throw error;
    }
  }

  /** Writes the mark if nothing is being attached or detached at this moment. */
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
