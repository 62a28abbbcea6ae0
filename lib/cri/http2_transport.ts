import {
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { CniError } from "../cni/error.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { AnswerGrpc, GrpcResponse, GrpcTransport } from "./transport.ts";

/** `node:http2` is mute on a Unix socket before Deno 2.7.13, which the self-test notices. */
export const http2Transport: GrpcTransport = {
  name: "node:http2",
  async listen(path, answer, log) {
    const sessions = new Set<ServerHttp2Session>();
    const server = createServer();
    server.on("session", (session) => {
      sessions.add(session);
      session.once("close", () => sessions.delete(session));
      // The stream of each call reports what happens to it.
      session.on("error", () => {});
    });
    server.on("stream", (stream, headers) => void respond(stream, headers, answer, log));
    const ended = Promise.withResolvers<void>();
    server.once("close", () => ended.resolve());
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ path }, resolve);
    });
    server.on("error", (error) => log.warn(`the server has failed: ${messageOf(error)}`));
    return {
      ended: ended.promise,
      async finish() {
        server.close();
        for (const session of sessions) session.close();
        await ended.promise;
      },
      abort() {
        for (const session of sessions) session.destroy();
        server.close();
      },
    };
  },
};

async function respond(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  answer: AnswerGrpc,
  log: Logger,
): Promise<void> {
  const leaving = new AbortController();
  const onClose = () => leaving.abort(new CniError("cancelled", "the client has disconnected"));
  stream.once("close", onClose);
  stream.on("error", () => {});
  try {
    const response = await answer({
      httpVersion: "2",
      method: String(headers[":method"] ?? ""),
      url: `http://podwire${headers[":path"] ?? "/"}`,
      header: headersOf(headers),
      // A message that is too large is answered before all of it was read, and over the same stream.
      body: stream.iterator({ destroyOnReturn: false }),
      signal: leaving.signal,
    });
    await send(stream, response);
    stream.resume();
  } catch (error) {
    if (!leaving.signal.aborted) log.error(`Cannot answer a call: ${messageOf(error)}`);
    stream.close();
  } finally {
    stream.removeListener("close", onClose);
  }
}

/** Sends the response; a client that has left gets no more of it. */
async function send(
  stream: ServerHttp2Stream,
  { status, header, body, trailer }: GrpcResponse,
): Promise<void> {
  const isOpen = () => !stream.destroyed && !stream.closed;
  if (isOpen()) {
    const head: OutgoingHttpHeaders = { ":status": status, ...Object.fromEntries(header ?? []) };
    stream.respond(head, { waitForTrailers: true });
    stream.once("wantTrailers", () => isOpen() && stream.sendTrailers(Object.fromEntries(trailer)));
  }
  for await (const piece of body) {
    if (!isOpen()) break;
    if (!stream.write(piece)) await drained(stream);
  }
  if (isOpen()) stream.end();
}

async function drained(stream: ServerHttp2Stream): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      stream.removeListener("drain", done);
      stream.removeListener("close", done);
      resolve();
    };
    stream.once("drain", done);
    stream.once("close", done);
  });
}

/** Returns the headers without those of HTTP/2 itself. */
function headersOf(headers: IncomingHttpHeaders): Headers {
  const own = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const each of [value].flat()) own.append(name, each);
  }
  return own;
}
