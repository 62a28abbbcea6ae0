import { settled } from "../async/wait.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { messageOf, requirePermissions } from "../errors/to_cni_error.ts";
import { HostError } from "../host/command.ts";
import { type ClaimedSocket, claimSocket } from "../host/socket.ts";
import { socketPaths } from "../host/socket_path.ts";
import { Acceptor, type AcceptorOptions } from "./acceptor.ts";

/** Options of {@linkcode SocketServer}. */
export interface SocketServerOptions extends AcceptorOptions {
  readonly path: string;
  /** Cancels the wait for the socket. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * An HTTP server on a Unix socket. It does not use `Deno.serve`, which never closes idle connections, and ends when it
 * cannot accept one.
 */
export class SocketServer {
  readonly #options: SocketServerOptions;
  #acceptor: Acceptor | undefined;
  #socket: ClaimedSocket | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: SocketServerOptions) {
    this.#options = options;
  }

  /**
   * Takes the socket and begins to serve.
   *
   * Requires `--allow-read` and `--allow-write`.
   *
   * @throws {CniError} kind `conflict` if another process serves there
   */
  static async open(options: SocketServerOptions): Promise<SocketServer> {
    const server = new SocketServer(options);
    await server.#listen();
    return server;
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
    if (state === "foreign") throw inUse(path);
    if (state !== "missing") return;
    log.warn("the socket was removed; it is made again", { socket: path });
    const before = this.#acceptor;
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
    // It may be about to replace the acceptor.
    await this.#keeping.catch(() => {});
    const acceptor = this.#acceptor;
    if (acceptor === undefined) return;
    // First, so that new clients see that no daemon serves.
    await this.#socket?.release().catch((error) => log.warn(`Cannot remove the socket: ${messageOf(error)}`));
    const done = acceptor.finish().then(() => true, () => true);
    if (await settled(done, limitMs) !== undefined) return;
    log.warn("connections with running requests are closed");
    acceptor.abort();
  }

  async #listen(): Promise<void> {
    const { path, signal } = this.#options;
    let acceptor: Acceptor | undefined;
    const listen = (temporary: string) => {
      acceptor = new Acceptor(Deno.listen({ transport: "unix", path: temporary }), this.#options);
    };
    requirePermissions({ sockets: socketPaths(path) });
    try {
      this.#socket = await claimSocket(path, listen, { signal });
      this.#acceptor = acceptor;
    } catch (error) {
      acceptor?.abort();
      await acceptor?.finish();
      throw error instanceof HostError && error.reason === "exists" ? inUse(path, error) : error;
    }
  }
}

function inUse(path: string, cause?: Error): CniError {
  return new CniError("conflict", cause?.message ?? `another process serves at "${path}"`, {
    code: ERROR_CODES.ioFailure,
    file: path,
    hint: "stop the other daemon, or choose another --socket",
    cause,
  });
}
