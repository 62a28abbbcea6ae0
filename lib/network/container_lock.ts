import { pause, type RunCommand, runCommand } from "../host/command.ts";
import { listDir, readTextIfThere, removeIfThere, statOf, writeFileSynced } from "../host/file.ts";
import { type Lock, lockFile, type LockOptions, tryLockFile } from "../host/lock.ts";
import { endUnheard } from "../host/orphans.ts";
import { type LockKind, Watch } from "../plugin/observe.ts";
import { CniError } from "../spec/error.ts";

/** NAME_MAX of Linux, less the ending of a lock file. */
const LONGEST_ID = 250;
const LONGER_THAN_A_LOOK_MS = 5;

/**
 * Locks across processes, under `/run/podwire`.
 *
 * Order: the lock of the boot, then the gc lock, then the container's own, then the one over the names or the one over
 * the ports. A container's lock file exists exactly while an operation on it is under way; one that is left behind and
 * free tells of a crash.
 */
export class ContainerLocks {
  readonly #dir: string;
  readonly #watch: Watch;
  readonly #run: RunCommand;

  /** Each waiting is seen by `watch`. */
  constructor(runDir: string, watch: Watch = new Watch(), run: RunCommand = runCommand) {
    this.#dir = runDir;
    this.#watch = watch;
    this.#run = run;
  }

  /** Waits for the container's lock, until the signal fires. */
  async lock(containerId: string, signal?: AbortSignal): Promise<Lock> {
    return await this.#wait("container", this.#path(containerId), signal === undefined ? {} : { signal });
  }

  /** The container's lock if nobody has it. */
  async tryLock(containerId: string): Promise<Lock | undefined> {
    const path = this.#path(containerId);
    const lock = await tryLockFile(path);
    if (lock !== undefined) return lock;
    // Who only looks whether it is held lets go at once.
    await pause(LONGER_THAN_A_LOOK_MS);
    return await tryLockFile(path);
  }

  /**
   * The container's lock if a killed process left its file. An operation that ends takes its file away before it lets go
   * of it, so that what is free was left.
   */
  async tryLeft(containerId: string): Promise<Lock | undefined> {
    const path = this.#path(containerId);
    const lock = await tryLockFile(path, { create: false });
    if (lock !== undefined || !await this.isPresent(containerId)) return lock;
    // Who only looks whether it is held lets go at once.
    await pause(LONGER_THAN_A_LOOK_MS);
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
      using lock = await tryLockFile(this.#path(id), { shared: true, create: false });
      return lock !== undefined;
    };
    const left = await Promise.all(present.map(isLeft));
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
    return await this.#wait("boot", `${this.#dir}/boot.lock`, signal === undefined ? {} : { signal });
  }

  /**
   * The gc lock: exclusive while the plugins of a network are asked to clean up, shared by whoever attaches or
   * detaches. Waiting for the exclusive one keeps nobody from taking a shared one.
   *
   * The kernel takes the lock from a process that is killed, but not its plugins, which go on with a list that grows
   * old: whoever has the lock next ends them first.
   */
  async sweep(options: { shared: boolean; signal?: AbortSignal }): Promise<Lock> {
    const lock = await this.#wait("gc", `${this.#dir}/gc.lock`, options);
    try {
      await this.#endCollecting(options.signal);
      if (options.shared) await removeIfThere(this.#mark);
      return lock;
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  /** Runs what plugins clean up in. The caller holds the exclusive gc lock. */
  async collecting<T>(body: () => Promise<T>): Promise<T> {
    await writeFileSynced(this.#collecting, "");
    try {
      return await body();
    } finally {
      await removeIfThere(this.#collecting);
    }
  }

  /** Several that share the lock may do this at once, and nobody begins to collect meanwhile. */
  async #endCollecting(signal: AbortSignal | undefined): Promise<void> {
    if (await statOf(this.#collecting) === undefined) return;
    await endUnheard(["CNI_COMMAND=GC"], this.#run, signal);
    await removeIfThere(this.#collecting);
  }

  /** There while plugins clean up, or where whoever had asked them to was killed. */
  get #collecting(): string {
    return `${this.#dir}/gc.collecting`;
  }

  /** Leaves a mark that whoever attaches or detaches takes away first. The caller holds the exclusive gc lock. */
  async mark(): Promise<string> {
    const mark = crypto.randomUUID();
    await writeFileSynced(this.#mark, mark);
    return mark;
  }

  /** Whether nobody has attached or detached since the mark. The caller holds the exclusive gc lock. */
  async isMarked(mark: string): Promise<boolean> {
    return await readTextIfThere(this.#mark) === mark;
  }

  get #mark(): string {
    return `${this.#dir}/gc.mark`;
  }

  /** The lock over the names of sandboxes. */
  async names(signal?: AbortSignal): Promise<Lock> {
    return await this.#wait("names", `${this.#dir}/names.lock`, signal === undefined ? {} : { signal });
  }

  /** The lock over the ports of the host. */
  async ports(signal?: AbortSignal): Promise<Lock> {
    return await this.#wait("ports", `${this.#dir}/ports.lock`, signal === undefined ? {} : { signal });
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
    await pause(LONGER_THAN_A_LOOK_MS);
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

  async #wait(kind: LockKind, path: string, options: LockOptions): Promise<Lock> {
    return await this.#watch.lockWait(kind, () => lockFile(path, options));
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
