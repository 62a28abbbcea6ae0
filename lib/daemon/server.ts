import { type ClaimedSocket, claimSocket, socketPaths } from "../host/socket.ts";
import { HostError } from "../host/command.ts";
import { messageOf, requirePermissions } from "../errors/to_cni_error.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { Acceptor, type AcceptorOptions } from "./acceptor.ts";
import { settled } from "../async/wait.ts";

/** What is served, and where. */
export interface SocketServerOptions extends AcceptorOptions {
  readonly path: string;
  /** Ends the waiting for the socket. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * HTTP over a Unix socket. Not by `Deno.serve`: that closes no connection that waits, and ends when it cannot accept one.
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
   * @throws {CniError} kind `conflict`, if somebody serves there
   */
  static async open(options: SocketServerOptions): Promise<SocketServer> {
    const server = new SocketServer(options);
    await server.#listen();
    return server;
  }

  /**
   * Looks whether the socket is still under its path, and makes it anew where it was removed; connections that are open
   * are served on. Not once it is to be closed: then it is missing by intent.
   *
   * @throws {CniError} kind `conflict`, if somebody else has taken its place
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
    log.warn("the socket was removed and is made anew", { socket: path });
    const before = this.#acceptor;
    await this.#listen();
    void before?.finish().catch((error) => log.warn(`a former socket: ${messageOf(error)}`));
  }

  /** Accepts nothing any more. What is being answered has `limitMs` to end; then its connections are closed. */
  async close(limitMs: number): Promise<void> {
    const { log } = this.#options;
    this.#closed = true;
    // It may be about to put another one in the place of this.
    await this.#keeping.catch(() => {});
    const acceptor = this.#acceptor;
    if (acceptor === undefined) return;
    // Before: whoever comes now is to see that nobody is there.
    await this.#socket?.release().catch((error) => log.warn(`the socket stays: ${messageOf(error)}`));
    const done = acceptor.finish().then(() => true, () => true);
    if (await settled(done, limitMs) !== undefined) return;
    log.warn("connections are closed that were still open");
    acceptor.abort();
  }

  async #listen(): Promise<void> {
    const { path, signal } = this.#options;
    let acceptor: Acceptor | undefined;
    const listen = (temporary: string) => {
      acceptor = new Acceptor(Deno.listen({ transport: "unix", path: temporary }), this.#options);
    };
    await requirePermissions({ sockets: socketPaths(path) });
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
  return new CniError("conflict", cause?.message ?? `somebody else serves at ${path}`, {
    code: ERROR_CODES.ioFailure,
    file: path,
    hint: "another podwire serves there: stop it, or choose another --socket",
    ...(cause && { cause }),
  });
}
