import { type ClaimedSocket, claimSocket, socketPaths } from "../host/socket.ts";
import { HostError, settled } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import { requirePermissions, wordsOf } from "../plugin/failure.ts";
import { CniError, ERROR_CODES } from "../spec/error.ts";

/** What is served, and where. */
export interface SocketServerOptions {
  readonly path: string;
  readonly handle: (request: Request) => Promise<Response>;
  readonly log: Logger;
  /** Ends the waiting for the socket. */
  readonly signal?: AbortSignal;
}

/** HTTP over a Unix socket. */
export class SocketServer {
  readonly #options: SocketServerOptions;
  #server: Deno.HttpServer | undefined;
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
    const before = this.#server;
    await this.#listen();
    void before?.shutdown().catch((error) => log.warn(`a former socket: ${wordsOf(error)}`));
  }

  /** Accepts nothing any more. What is being answered has `limitMs` to end; then its connections are closed. */
  async close(limitMs: number): Promise<void> {
    const { log } = this.#options;
    this.#closed = true;
    // It may be about to put another one in the place of this.
    await this.#keeping.catch(() => {});
    const server = this.#server;
    if (server === undefined) return;
    // Before: whoever comes now is to see that nobody is there.
    await this.#socket?.release().catch((error) => log.warn(`the socket stays: ${wordsOf(error)}`));
    const done = server.shutdown().then(() => true, () => true);
    if (await settled(done, limitMs) === undefined) log.warn("connections are closed that were still open");
  }

  async #listen(): Promise<void> {
    const { path, handle, log, signal } = this.#options;
    let server: Deno.HttpServer | undefined;
    const listen = (temporary: string) => {
      server = Deno.serve({
        path: temporary,
        onListen: () => {},
        onError: (error) => {
          log.error(`a request could not be answered: ${wordsOf(error)}`);
          return new Response(null, { status: 500 });
        },
      }, handle);
    };
    await requirePermissions({ sockets: socketPaths(path) });
    try {
      this.#socket = await claimSocket(path, listen, { ...(signal && { signal }) });
      this.#server = server;
    } catch (error) {
      await server?.shutdown();
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
