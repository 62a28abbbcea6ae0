import { ContainerLocks } from "./container_locks.ts";
import { LockWaiter, type LockWaiterOptions } from "./lock_waiter.ts";
import { MachineLocks } from "./machine_locks.ts";
import { NetworkLocks } from "./network_locks.ts";
import { PoolLocks } from "./pool_locks.ts";

/** Options of {@linkcode Locks}. */
export interface LocksOptions extends LockWaiterOptions {
  /**
   * Throws if nothing may be changed, because the state directory has an unknown layout. Called before the lock of a
   * container and the boot lock, because each operation holds one of them.
   *
   * @default {nothing is refused}
   */
  readonly requireKnownFormat?: (() => Promise<void>) | undefined;
}

/**
 * All locks across processes, under `/run/podwire`.
 *
 * Order: the boot lock, then the lock of one container, then the gc lock of one network, then the lock of the names, the
 * ports, the interfaces or the files inside sandboxes. No wait lasts for ever: a process that holds a lock may be stopped, or hang.
 */
export class Locks {
  /** One lock for each container. */
  readonly containers: ContainerLocks;
  /** The gc lock of each network. */
  readonly networks: NetworkLocks;
  /** The locks that exist once on the machine. */
  readonly machine: MachineLocks;
  /** One lock for each pool of warm sandboxes. */
  readonly pools: PoolLocks;

  constructor(
    runDir: string,
    { requireKnownFormat = () => Promise.resolve(), ...options }: LocksOptions = {},
  ) {
    const waiter = new LockWaiter(options);
    this.containers = new ContainerLocks(`${runDir}/containers`, waiter, requireKnownFormat);
    this.networks = new NetworkLocks(runDir, waiter, options.run);
    this.machine = new MachineLocks(runDir, waiter, requireKnownFormat);
    this.pools = new PoolLocks(`${runDir}/pools`);
  }
}
