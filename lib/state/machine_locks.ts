import type { Lock } from "../host/lock.ts";
import type { LockWaiter } from "./lock_waiter.ts";

/** The locks that exist once on the machine. Each wait throws a `HostError` of reason `lock-timeout` if it lasts too long. */
export class MachineLocks {
  readonly #dir: string;
  readonly #waiter: LockWaiter;
  readonly #requireKnownFormat: () => Promise<void>;

  constructor(dir: string, waiter: LockWaiter, requireKnownFormat: () => Promise<void>) {
    this.#dir = dir;
    this.#waiter = waiter;
    this.#requireKnownFormat = requireKnownFormat;
  }

  /** Held while the sandboxes and attachments of earlier boots are torn down, before anything is attached. */
  async boot(signal?: AbortSignal): Promise<Lock> {
    await this.#requireKnownFormat();
    return await this.#wait("boot", "the clean-up after another boot (the boot lock)", signal);
  }

  /** The lock of the names of sandboxes. */
  async names(signal?: AbortSignal): Promise<Lock> {
    return await this.#wait("names", "the lock of the names of sandboxes", signal);
  }

  /** The lock of the ports of the host. */
  async ports(signal?: AbortSignal): Promise<Lock> {
    return await this.#wait("ports", "the lock of the ports of the host", signal);
  }

  /** The lock of the interfaces of namespaces. */
  async interfaces(signal?: AbortSignal): Promise<Lock> {
    return await this.#wait("interfaces", "the lock of the interfaces of namespaces", signal);
  }

  /** The lock of the files inside sandboxes. Its holder takes no other lock and runs no program. */
  async files(signal?: AbortSignal): Promise<Lock> {
    return await this.#wait("files", "the lock of the hosts and resolv.conf of sandboxes", signal);
  }

  async #wait(
    kind: "boot" | "names" | "ports" | "interfaces" | "files",
    what: string,
    signal: AbortSignal | undefined,
  ): Promise<Lock> {
    return await this.#waiter.wait({ kind, path: `${this.#dir}/${kind}.lock`, what, signal });
  }
}
