import { backoffMs } from "../async/backoff.ts";
import { abortable, delay, settled } from "../async/wait.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { hasListener, openConnection } from "../host/unix_listener.ts";
import { type DhcpDaemon, type DhcpDaemonOptions, startDhcpDaemon } from "./daemon_program.ts";
import type { DhcpEvent } from "./event.ts";
import type { Leases } from "./leases.ts";

/** How a {@linkcode DaemonWatch} works. */
export interface DaemonWatchOptions extends Omit<DhcpDaemonOptions, "path" | "socket"> {
  /** Asks for the leases that a new daemon does not know. */
  readonly leases: Pick<Leases, "renew">;
  /** Returns the executable. @throws {CniError} If it is missing, or not safe. */
  readonly executable: () => Promise<string>;
  /** Resolves at the next change of the networks or of the plugins. */
  readonly changed: () => Promise<void>;
  /** Called when a daemon listens, or cannot be started. */
  readonly onBegun: () => void;
  readonly onEvent: (event: DhcpEvent) => void;
  /** Milliseconds in which a daemon that podwire has not started may come back by itself. @default {10_000} */
  readonly returnMs?: number | undefined;
}

/** A daemon that ended sooner is not started again at once. */
const STABLE_MS = 60_000;
const POLL_MS = 100;
/** A connection that ends sooner is not one to a daemon that runs. */
const STEADY_MS = 100;
/** The end of a process is known a moment after that of its connections. */
const ENDED_MS = 5_000;

/**
 * Watches the DHCP daemon at one socket, and starts one if none listens there. A connection to it, through which nothing is
 * sent, shows its end at once.
 */
export class DaemonWatch {
  readonly #socket: string;
  readonly #options: DaemonWatchOptions;
  /** The daemon, if podwire started it. */
  #own: DhcpDaemon | undefined;
  /** Number of daemons in a row that could not be started, or ended soon. */
  #failures = 0;
  #lastReason = "";
  /** Whether the next daemon begins under these eyes. */
  #isNew = false;

  constructor(socket: string, options: DaemonWatchOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /** Runs until the signal fires; then it ends the daemon, if it started it. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // A plugin that is installed, or a network that is changed, may be all that it takes.
      const changed = this.#options.changed();
      const isWell = await this.#step(signal).catch((error) => {
        if (!signal.aborted) this.#failed(error);
        return false;
      });
      if (isWell || signal.aborted) continue;
      const waiting = new AbortController();
      const either = AbortSignal.any([signal, waiting.signal]);
      await Promise.race([changed, delay(backoffMs(this.#failures), either)]).catch(() => {});
      waiting.abort();
    }
    await this.#own?.[Symbol.asyncDispose]();
  }

  /** Returns whether the next step may follow at once. */
  async #step(signal: AbortSignal): Promise<boolean> {
    const { log, onBegun, onEvent } = this.#options;
    const socket = this.#socket;
    using connection = await openConnection(socket);
    if (connection === undefined) {
      await this.#start(signal);
      return true;
    }
    const since = performance.now();
    // A process that is being killed still accepts connections for a moment.
    if (await settled(connection.closed.then(() => true), STEADY_MS)) {
      this.#failures++;
      return false;
    }
    this.#lastReason = "";
    onBegun();
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const renewing = this.#options.leases.renew(socket, { isNew: this.#isNew, signal: either });
    this.#isNew = true;
    try {
      await abortable(connection.closed, signal);
    } finally {
      over.abort();
      await renewing;
    }
    log.warn("the DHCP daemon has ended: no lease is renewed until there is another one", { socket });
    onEvent({ socket, event: "daemon-ended" });
    this.#failures = performance.now() - since > STABLE_MS ? 0 : this.#failures + 1;
    if (this.#own === undefined) return await this.#returns(signal);
    if (await settled(this.#own.ended.then(() => true), ENDED_MS)) this.#own = undefined;
    return this.#failures === 0;
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { log, onEvent, executable } = this.#options;
    const socket = this.#socket;
    // It listens no more, so it is of no use.
    await this.#own?.[Symbol.asyncDispose]();
    this.#own = undefined;
    const path = await executable();
    this.#own = await startDhcpDaemon({ ...this.#options, path, socket }, signal);
    this.#isNew = true;
    const { pid } = this.#own;
    log.info("started the DHCP daemon", { socket, pid, program: path });
    onEvent({ socket, event: "daemon-started", pid });
  }

  /** A service manager starts a daemon of its own again. If podwire were faster, that one could not listen. */
  async #returns(signal: AbortSignal): Promise<boolean> {
    const { returnMs = 10_000 } = this.#options;
    for (const end = performance.now() + returnMs; performance.now() < end;) {
      if (await hasListener(this.#socket)) break;
      await delay(POLL_MS, signal);
    }
    return true;
  }

  #failed(error: unknown): void {
    const { log, onBegun, onEvent } = this.#options;
    const socket = this.#socket;
    const reason = asCniError(error).message;
    this.#failures++;
    onBegun();
    if (reason === this.#lastReason) return;
    this.#lastReason = reason;
    log.error(`Cannot keep a DHCP daemon at ${socket}: ${reason}`, { socket });
    onEvent({ socket, event: "daemon-failed", reason });
  }
}
