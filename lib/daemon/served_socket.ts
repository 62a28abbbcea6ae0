import { delay, settled } from "../async/wait.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { messageOf, requirePermissions } from "../errors/to_cni_error.ts";
import { HostError } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import { type ClaimedSocket, claimSocket } from "../host/socket.ts";
import { socketPaths } from "../host/socket_path.ts";

/** What accepts the connections of a socket. */
export interface SocketListener {
  /** Resolves when it accepts no more, whether it was asked to end or failed. @default {it never ends by itself} */
  readonly ended?: Promise<void> | undefined;
  /** Accepts no more connections, and resolves when the last running request has been answered. */
  finish(): Promise<void>;
  /** Closes all open connections. */
  abort(): void;
}

/** Options of {@linkcode ServedSocket}. */
export interface ServedSocketOptions {
  readonly path: string;
  /** The option of `podwire serve` that names the path, as in `--socket`. */
  readonly option: string;
  readonly log: Logger;
  /** Begins to accept connections at a path, from which the socket is then moved to its own. */
  readonly listen: (temporary: string) => SocketListener | Promise<SocketListener>;
  /** Cancels the wait for the socket. */
  readonly signal?: AbortSignal | undefined;
}

/** Between the unexpected end of what accepts connections and the next attempt, in milliseconds. */
const PAUSE_MS = 1_000;

/** A Unix socket of this process that stays under its path until it is closed. */
export class ServedSocket {
  readonly #options: ServedSocketOptions;
  #listener: SocketListener | undefined;
  #socket: ClaimedSocket | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: ServedSocketOptions) {
    this.#options = options;
  }

  /**
   * Takes the socket and begins to serve.
   *
   * Requires `--allow-read` and `--allow-write`; from Deno 2.9 on `--allow-net=unix:PATH` too.
   *
   * @throws {CniError} kind `conflict` if another process serves there
   */
  static async open(options: ServedSocketOptions): Promise<ServedSocket> {
    const served = new ServedSocket(options);
    await served.#listen();
    return served;
  }

  /**
   * Checks that the socket is still under its path, and makes it again if it was removed. Open connections are still
   * served. It does nothing once the server is closed: then the socket is missing on purpose.
   *
   * @throws {CniError} kind `conflict` if another process has taken its place
   */
  async keep(): Promise<void> {
    if (!this.#closed) await (this.#keeping = this.#keep());
  }

  async #keep(): Promise<void> {
    const { path, log } = this.#options;
    const state = await this.#socket?.state();
    if (this.#closed) return;
    if (state === "foreign") throw inUse(this.#options);
    if (state !== "missing") return;
    log.warn("the socket was removed; it is made again", { socket: path });
    const before = this.#listener;
    await this.#listen();
    void before?.finish().catch((error) => log.warn(`Cannot end the previous socket: ${messageOf(error)}`));
  }

  /**
   * Accepts no more connections. Running requests have `limitMs` milliseconds to end; then their connections are
   * closed.
   */
  async close(limitMs: number): Promise<void> {
    const { log } = this.#options;
    this.#closed = true;
    // It may be about to replace the listener.
    await this.#keeping.catch(() => {});
    const listener = this.#listener;
    if (listener === undefined) return;
    // First, so that new clients see that no daemon serves.
    await this.#socket?.release().catch((error) => log.warn(`Cannot remove the socket: ${messageOf(error)}`));
    const done = listener.finish().then(() => true, () => true);
    if (await settled(done, limitMs) !== undefined) return;
    log.warn("connections with running requests are closed");
    listener.abort();
  }

  async #listen(): Promise<void> {
    const { path, signal, listen } = this.#options;
    let listener: SocketListener | undefined;
    requirePermissions({ sockets: socketPaths(path) });
    try {
      this.#socket = await claimSocket(path, async (temporary) => {
        listener = await listen(temporary);
      }, { signal });
      this.#listener = listener;
    } catch (error) {
      listener?.abort();
      await listener?.finish();
      throw error instanceof HostError && error.reason === "exists" ? inUse(this.#options, error) : error;
    }
    if (listener !== undefined) void this.#restart(listener);
  }

  /** Listens again if what accepts connections has ended by itself: then nothing answers at the socket. */
  async #restart(listener: SocketListener): Promise<void> {
    if (listener.ended === undefined) return;
    await listener.ended;
    const { path: socket, log } = this.#options;
    const isOver = () => this.#closed || this.#listener !== listener;
    while (!isOver()) {
      log.warn("no connections are accepted any more; the socket is made again", { socket });
      await delay(PAUSE_MS);
      if (isOver()) return;
      const restarted = this.#listen().then(() => true, (error) => {
        log.error(`Cannot make the socket again: ${messageOf(error)}`);
        return false;
      });
      this.#keeping = restarted.then(() => {});
      if (await restarted) return;
    }
  }
}

function inUse({ path, option }: Pick<ServedSocketOptions, "path" | "option">, cause?: Error): CniError {
  return new CniError("conflict", cause?.message ?? `another process serves at "${path}"`, {
    code: ERROR_CODES.ioFailure,
    file: path,
    hint: `stop the other daemon, or choose another ${option}`,
    cause,
  });
}
