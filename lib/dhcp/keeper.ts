import type { CatalogSource } from "../catalog/source.ts";
import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { DHCP, keepsLeases } from "../plugin/dhcp.ts";
import { endAbandonedDaemons } from "./daemon_program.ts";
import { DaemonWatch, type DaemonWatchOptions } from "./daemon_watch.ts";
import { dhcpSocketsOf, leasesOf } from "./lease.ts";
import { Leases, type LeasesOptions } from "./leases.ts";

/** Options of {@linkcode DhcpKeeper}. */
export interface DhcpKeeperOptions
  extends
    Omit<LeasesOptions, "keepsLeases">,
    Pick<DaemonWatchOptions, "searchPath" | "run" | "running" | "returnMs"> {
  /** The networks. */
  readonly source: CatalogSource;
}

/** The socket of a daemon that is needed. */
interface Kept {
  readonly stop: AbortController;
  /** Resolves when a daemon listens there for the first time, or cannot be started. */
  readonly begun: Promise<void>;
  /** Never rejects. */
  readonly ended: Promise<void>;
}

/**
 * Keeps a DHCP daemon running for each socket that networks or attachments name. A daemon that listens there already, such as a
 * service of the distribution, is used and left alone; if there is none, the executable `dhcp` is started. A connection to the
 * daemon shows its end at once. Each new daemon is asked for the leases that attachments have.
 *
 * Permissions: `--allow-run` of the executable `dhcp`; `--allow-read` and `--allow-write` of the directories of the sockets;
 * from Deno 2.9 on `--allow-net=unix:PATH` too.
 */
export class DhcpKeeper implements AsyncDisposable {
  readonly #options: DhcpKeeperOptions;
  readonly #leases: Leases;
  readonly #kept = new Map<string, Kept>();
  readonly #stop = new AbortController();
  #subscription: Disposable | undefined;
  /** Wakes up what waits to start a daemon: a plugin or a network has changed. */
  #changed = Promise.withResolvers<void>();
  #following: Promise<void> = Promise.resolve();

  private constructor(options: DhcpKeeperOptions) {
    this.#options = options;
    const { run, searchPath } = options;
    this.#leases = new Leases({
      ...options,
      keepsLeases: async (signal) =>
        await keepsLeases(await this.#executable(), { run, env: { PATH: searchPath }, signal }),
    });
  }

  /** Starts what is needed now, and returns when it listens or cannot be started; goes on until disposed of. */
  static async start(options: DhcpKeeperOptions): Promise<DhcpKeeper> {
    const keeper = new DhcpKeeper(options);
    const { source, running, log } = options;
    await endAbandonedDaemons(running, keeper.#stop.signal).catch((error) => {
      log.error(`Cannot end the DHCP daemon of a podwire that was killed: ${asCniError(error).message}`);
    });
    keeper.#subscription = source.onChange(() => {
      keeper.#changed.resolve();
      keeper.#changed = Promise.withResolvers();
      keeper.#follow();
    });
    keeper.#follow();
    await keeper.#following;
    await Promise.all([...keeper.#kept.values()].map(({ begun }) => begun));
    return keeper;
  }

  /** Ends the daemons that it started. Their leases stay with the server, and are renewed after the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription?.[Symbol.dispose]();
    this.#stop.abort();
    await this.#following;
    await Promise.all([...this.#kept.values()].map(({ ended }) => ended));
  }

  /** One after the other, so that the last change counts. */
  #follow(): void {
    this.#following = this.#following.then(() => this.#keepNeeded()).catch((error) => {
      if (this.#stop.signal.aborted) return;
      this.#options.log.error(`Cannot look for networks with DHCP: ${asCniError(error).message}`);
    });
  }

  async #keepNeeded(): Promise<void> {
    const { signal } = this.#stop;
    if (signal.aborted) return;
    const needed = new Set(dhcpSocketsOf((await this.#options.source.current(signal)).lists));
    for (const socket of await this.#attachedSockets()) needed.add(socket);
    for (const socket of needed) if (!this.#kept.has(socket)) this.#kept.set(socket, this.#keep(socket));
    for (const [socket, { stop, ended }] of this.#kept) {
      if (needed.has(socket)) continue;
      stop.abort();
      await ended;
      this.#kept.delete(socket);
    }
  }

  /** The daemons that hold leases of attachments, whose networks may have been removed. */
  async #attachedSockets(): Promise<readonly string[]> {
    // Without the plugin there never was one, and nothing that could be started.
    if (await this.#executable().catch(() => undefined) === undefined) return [];
    return (await this.#options.store.all()).flatMap(leasesOf).map(({ socket }) => socket);
  }

  /** @throws {CniError} kind `plugin-missing`, or `plugin-start` for a file that is not safe */
  async #executable(): Promise<string> {
    const source = await this.#options.runner.locate(DHCP);
    if (source.kind === "binary") return source.path;
    throw new CniError("plugin-missing", `the plugin "${DHCP}" is built in, and has no daemon`);
  }

  #keep(socket: string): Kept {
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, stop.signal]);
    const begun = Promise.withResolvers<void>();
    const watch = new DaemonWatch(socket, {
      ...this.#options,
      leases: this.#leases,
      leaseMs: this.#options.timeouts.ADD,
      executable: () => this.#executable(),
      changed: () => this.#changed.promise,
      onBegun: begun.resolve,
    });
    return { stop, begun: begun.promise, ended: watch.run(signal).finally(begun.resolve) };
  }
}
