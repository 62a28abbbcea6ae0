import { delay } from "../async/wait.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import { type ConnectionLimits, type Handle, HttpConnection } from "./http_connection.ts";
import { printHead } from "./http_message.ts";
import type { ByteStream } from "./inbox.ts";

/** Where connections come from. */
export interface Listener {
  accept(): Promise<ByteStream>;
  close(): void;
}

/** Options of {@linkcode Acceptor}. */
export interface AcceptorOptions {
  readonly handle: Handle;
  readonly log: Logger;
  /** How many connections may be open at once. @default {1_024} */
  readonly maxConnections?: number | undefined;
  readonly limits?: ConnectionLimits | undefined;
}

/** Between two attempts to accept. While no file descriptor is free, each attempt fails at once. */
const PAUSE_MS = 50;
const LOGGED_EVERY_MS = 10_000;

/**
 * Accepts connections up to a limit. At the limit, the connection that has waited the longest for a request is closed for
 * the new one. If all connections have a request, the new one is refused.
 */
export class Acceptor {
  readonly #listener: Listener;
  readonly #options: AcceptorOptions;
  readonly #connections = new Map<HttpConnection, Promise<void>>();
  readonly #accepting: Promise<void>;
  #isClosed = false;
  #loggedAt = -Infinity;

  constructor(listener: Listener, options: AcceptorOptions) {
    this.#listener = listener;
    this.#options = options;
    this.#accepting = this.#accept();
  }

  /** Number of open connections. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Accepts no more connections, and resolves when the last running request has been answered. */
  async finish(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#listener.close();
    }
    for (const connection of this.#connections.keys()) connection.finish();
    await this.#accepting;
    await Promise.all(this.#connections.values());
  }

  /** Closes all open connections. */
  abort(): void {
    for (const connection of this.#connections.keys()) connection.close();
  }

  async #accept(): Promise<void> {
    while (!this.#isClosed) {
      try {
        this.#take(await this.#listener.accept());
      } catch (error) {
        if (this.#isClosed) return;
        this.#closeIdlest();
        this.#warn(`Cannot accept a connection: ${messageOf(error)}`);
        await delay(PAUSE_MS);
      }
    }
  }

  #take(stream: ByteStream): void {
    const { handle, limits, maxConnections = 1_024 } = this.#options;
    if (this.#isClosed) return stream.close();
    if (this.#connections.size >= maxConnections && !this.#closeIdlest()) {
      this.#warn(`a connection is refused: ${maxConnections} are open, and each has a request`);
      return void refuse(stream);
    }
    const connection = new HttpConnection(stream, handle, limits);
    const ended = connection.serve().finally(() => this.#connections.delete(connection));
    this.#connections.set(connection, ended);
  }

  /** Closes the connection that has waited the longest; false if each has a running request. */
  #closeIdlest(): boolean {
    let idlest: HttpConnection | undefined;
    for (const connection of this.#connections.keys()) {
      const since = connection.idleSince;
      if (since !== undefined && since < (idlest?.idleSince ?? Infinity)) idlest = connection;
    }
    idlest?.close();
    if (idlest !== undefined) this.#connections.delete(idlest);
    return idlest !== undefined;
  }

  #warn(msg: string): void {
    const now = performance.now();
    if (now - this.#loggedAt < LOGGED_EVERY_MS) return;
    this.#loggedAt = now;
    this.#options.log.warn(msg, { open: this.#connections.size });
  }
}

async function refuse(stream: ByteStream): Promise<void> {
  try {
    await stream.write(
      printHead(503, [["retry-after", "1"], ["content-length", "0"], ["connection", "close"]]),
    );
  } catch {
    // The client has disconnected.
  } finally {
    stream.close();
  }
}
