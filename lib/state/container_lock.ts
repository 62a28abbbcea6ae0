import type { RunCommand } from "../host/command.ts";
import { listDir, statOf } from "../host/file.ts";
import { type Lock, lockFile, tryLockFile } from "../host/lock.ts";
import type { Instrumentation } from "../plugin/instrumentation.ts";
import { CniError } from "../cni/error.ts";
import { LockWaiter, type LockWaiterOptions } from "./lock_waiter.ts";
import { NetworkLocks } from "./network_lock.ts";
import { inParallel } from "../async/parallel.ts";
import { delay } from "../async/wait.ts";

/** NAME_MAX of Linux, less the ending of a lock file. */
const LONGEST_ID = 250;
const LONGER_THAN_A_LOOK_MS = 5;
const LOOKS_AT_ONCE = 16;

/** More of how {@linkcode ContainerLocks} goes about it. */
export interface ContainerLocksOptions extends Pick<LockWaiterOptions, "log" | "limitMs"> {
  /** Refuses whatever would change something: each operation on a container holds its lock. @default {nothing is refused} */
  readonly permit?: (() => Promise<void>) | undefined;
}

/**
 * Locks across processes, under `/run/podwire`.
 *
 * Order: the lock of the boot, then the container's own, then the gc lock of one network, then the one over the names, the
 * ports or the interfaces. A container's lock file exists exactly while an operation on it is under way; one that is left
 * behind and free tells of a crash.
 *
 * No wait lasts for ever: a process that holds a lock may be stopped, or hang.
 */
export class ContainerLocks {
  /** The gc lock of each network. */
  readonly networks: NetworkLocks;
  readonly #dir: string;
  readonly #waiter: LockWaiter;
  readonly #permit: () => Promise<void>;

  /** Each waiting is seen by `watch`. */
  constructor(
    runDir: string,
    watch?: Instrumentation,
    run?: RunCommand,
    { permit = () => Promise.resolve(), ...more }: ContainerLocksOptions = {},
  ) {
    this.#dir = runDir;
    this.#permit = permit;
    this.#waiter = new LockWaiter({ ...more, watch, run });
    this.networks = new NetworkLocks(runDir, this.#waiter, run);
  }

  /**
   * Waits for the container's lock, until the signal fires.
   *
   * @throws {HostError} reason `lock-timeout`, as each wait for a lock does that lasts too long
   */
  async lock(containerId: string, signal?: AbortSignal): Promise<Lock> {
    await this.#permit();
    const what = `the lock of container "${containerId}"`;
    return await this.#waiter.wait({ kind: "container", path: this.#path(containerId), what, signal });
  }

  /** The container's lock if nobody has it. */
  async tryLock(containerId: string): Promise<Lock | undefined> {
    await this.#permit();
    const path = this.#path(containerId);
    const lock = await tryLockFile(path);
    if (lock !== undefined) return lock;
    // Who only looks whether it is held lets go at once.
    await delay(LONGER_THAN_A_LOOK_MS);
    return await tryLockFile(path);
  }

  /**
   * The container's lock if a killed process left its file. An operation that ends takes its file away before it lets go
   * of it, so that what is free was left.
   */
  async tryLeft(containerId: string): Promise<Lock | undefined> {
    await this.#permit();
    const path = this.#path(containerId);
    const lock = await tryLockFile(path, { create: false });
    if (lock !== undefined || !await this.isPresent(containerId)) return lock;
    // Who only looks whether it is held lets go at once.
    await delay(LONGER_THAN_A_LOOK_MS);
    return await tryLockFile(path, { create: false });
  }

  /** The containers whose lock file exists: operations under way, and those that crashed. */
  async present(): Promise<readonly string[]> {
    const names = await listDir(`${this.#dir}/containers`);
    return names.filter((name) => name.endsWith(".lock")).map((name) => name.slice(0, -".lock".length));
  }

  /** The containers of which a killed process left the lock file: nobody holds it. Disturbs no operation. */
  async left(): Promise<readonly string[]> {
    const present = await this.present();
    const isLeft = async (id: string) => {
      // Shared, so that several who look do not take each other for an operation.
      // What is no file was left by no operation.
      if (!(await statOf(this.#path(id)))?.isFile) return false;
      using lock = await tryLockFile(this.#path(id), { shared: true, create: false });
      return lock !== undefined;
    };
    const left = await inParallel(present, LOOKS_AT_ONCE, isLeft);
    return present.filter((_, index) => left[index]);
  }

  /** Whether an operation on the container is under way. Makes and leaves no lock file. */
  async isBusy(containerId: string): Promise<boolean> {
    if (!await this.isPresent(containerId)) return false;
    using lock = await tryLockFile(this.#path(containerId), { shared: true, create: false });
    // It has ended if the file has gone meanwhile.
    return lock === undefined && await this.isPresent(containerId);
  }

  /** Whether the container's lock file is there, held or left. */
  async isPresent(containerId: string): Promise<boolean> {
    return await statOf(this.#path(containerId)) !== undefined;
  }

  /** The lock of whoever tears down what another boot left, before anything is attached. */
  async boot(signal?: AbortSignal): Promise<Lock> {
    await this.#permit();
    const what = "the end of what another boot left (the boot lock)";
    return await this.#waiter.wait({ kind: "boot", path: `${this.#dir}/boot.lock`, what, signal });
  }

  /** The lock over the names of sandboxes. */
  async names(signal?: AbortSignal): Promise<Lock> {
    const what = "the lock over the names of sandboxes";
    return await this.#waiter.wait({ kind: "names", path: `${this.#dir}/names.lock`, what, signal });
  }

  /** The lock over the ports of the host. */
  async ports(signal?: AbortSignal): Promise<Lock> {
    const what = "the lock over the ports of the host";
    return await this.#waiter.wait({ kind: "ports", path: `${this.#dir}/ports.lock`, what, signal });
  }

  /** The lock over the interfaces of namespaces. */
  async interfaces(signal?: AbortSignal): Promise<Lock> {
    const what = "the lock over the interfaces of namespaces";
    return await this.#waiter.wait({
      kind: "interfaces",
      path: `${this.#dir}/interfaces.lock`,
      what,
      signal,
    });
  }

  /** The lock of a pool of sandboxes, held by whoever they belong to. */
  async pool(id: string): Promise<Lock> {
    return await lockFile(this.#poolPath(id));
  }

  /** Whether the process that a pool belongs to is there. */
  async isPoolHeld(id: string): Promise<boolean> {
    const isHeld = async () => {
      if (await statOf(this.#poolPath(id)) === undefined) return false;
      using lock = await tryLockFile(this.#poolPath(id), { shared: true, create: false });
      return lock === undefined;
    };
    if (!await isHeld()) return false;
    // Who sweeps lets go at once, and has removed it then.
    await delay(LONGER_THAN_A_LOOK_MS);
    return await isHeld();
  }

  /** Removes the locks that killed processes left. */
  async sweepPools(): Promise<void> {
    for (const name of await listDir(`${this.#dir}/pools`)) {
      using lock = await tryLockFile(`${this.#dir}/pools/${name}`, { create: false });
      await lock?.remove();
    }
  }

  #poolPath(id: string): string {
    return `${this.#dir}/pools/${id}.lock`;
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

/**
 * Runs `body` under the container's lock if nobody has that; tells with `isBusy` that somebody has. A lock file that a
 * killed process had left is left again: what it tells of is for recovery to settle.
 */
export async function tryContainerLock<T>(
  locks: ContainerLocks,
  containerId: string,
  body: () => Promise<T>,
): Promise<{ readonly isBusy: true } | { readonly isBusy: false; readonly value: T }> {
  // Not by whether it is there: an operation that is just ending takes its file away a moment later.
  using left = await locks.tryLeft(containerId);
  if (left !== undefined) return { isBusy: false, value: await body() };
  if (await locks.isPresent(containerId)) return { isBusy: true };
  using lock = await locks.tryLock(containerId);
  if (lock === undefined) return { isBusy: true };
  try {
    return { isBusy: false, value: await body() };
  } finally {
    await lock.remove();
  }
}
