import { Acceptor, type AcceptorOptions } from "./acceptor.ts";
import { ServedSocket, type ServedSocketOptions } from "./served_socket.ts";

/** Options of {@linkcode openSocketServer}. */
export interface SocketServerOptions
  extends AcceptorOptions, Omit<ServedSocketOptions, "listen" | "option"> {}

/**
 * Opens an HTTP server on a Unix socket. It does not use `Deno.serve`, which never closes idle connections, and ends when it
 * cannot accept one.
 *
 * @throws {CniError} kind `conflict` if another process serves there
 */
export async function openSocketServer(options: SocketServerOptions): Promise<ServedSocket> {
  const listen = (path: string) => new Acceptor(Deno.listen({ transport: "unix", path }), options);
  return await ServedSocket.open({ ...options, option: "--socket", listen });
}
