import { messageOf } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";
import type { AnswerGrpc, GrpcResponse, GrpcTransport } from "./transport.ts";

/**
 * `Deno.serve` speaks HTTP/2 with prior knowledge on a Unix socket, and has no public way to send trailers. Deno's own server
 * for gRPC telemetry sends them with `addTrailers` of its internals, which wants a native handle that only the inner object of a
 * request has. Up to Deno 2.9.3 it can be reached; later on this transport sends no trailers, which the self-test notices.
 */
export const serveTransport: GrpcTransport = {
  name: "Deno.serve",
  listen(path, answer, log) {
    const aborting = new AbortController();
    let isFinishing = false;
    const server = Deno.serve({
      path,
      signal: aborting.signal,
      onListen: () => {},
      onError: (error) => {
        log.error(`Cannot answer a call: ${messageOf(error)}`);
        return new Response(null, { status: 500 });
      },
    }, (request) => respond(request, answer, log));
    const ended = server.finished.catch((error) => log.warn(`the server has ended: ${messageOf(error)}`));
    return {
      ended,
      finish() {
        isFinishing = true;
        return server.shutdown();
      },
      abort() {
        // `Deno.serve` throws if it is aborted while it shuts down. All calls were cancelled before.
        if (!isFinishing) aborting.abort();
      },
    };
  },
};

async function respond(request: Request, answer: AnswerGrpc, log: Logger): Promise<Response> {
  const inner = innerOf(request, "request");
  const { method, url, headers: header } = request;
  const response = await answer({
    httpVersion: "2",
    method,
    url,
    header,
    body: request.body ?? ReadableStream.from<Uint8Array>([]),
    // Later versions of Deno warn about the first use of it, which the self-test can do without.
    get signal() {
      return request.signal;
    },
  });
  const body = ReadableStream.from(withTrailers(response, (trailers) => sendTrailers(inner, trailers)));
  const init = { status: response.status, headers: response.header ?? {} };
  try {
    return new Response(body, init);
  } catch (error) {
    log.error(`Cannot answer a call: ${messageOf(error)}`);
    throw error;
  }
}

async function* withTrailers(
  { body, trailer }: GrpcResponse,
  send: (trailers: readonly (readonly [string, string])[]) => void,
): AsyncGenerator<Uint8Array> {
  yield* body;
  send([...trailer]);
}

type AddTrailers = (response: Response, trailers: readonly (readonly [string, string])[]) => void;

/** Sends trailers at the end of the body. Without a handle the client has left, or this Deno has no way to do it. */
function sendTrailers(inner: object | undefined, trailers: readonly (readonly [string, string])[]): void {
  // The handle is that of the response only while it is open, so it is read now and not kept.
  const external: unknown = inner && Reflect.get(inner, "external");
  if (external === null || external === undefined) return;
  const addTrailers = addTrailersOfDeno();
  const carrier = new Response();
  const place = innerOf(carrier, "response");
  if (addTrailers === undefined || place === undefined) return;
  Reflect.set(place, "external", external);
  addTrailers(carrier, trailers);
}

function addTrailersOfDeno(): AddTrailers | undefined {
  const key: unknown = Reflect.get(Deno, "internal");
  const internals: unknown = typeof key === "symbol" ? Reflect.get(Deno, key) : undefined;
  const add: unknown = isObject(internals) ? Reflect.get(internals, "addTrailers") : undefined;
  return typeof add === "function" ? (response, trailers) => void add(response, trailers) : undefined;
}

/** Returns the inner object of a request or a response, which is under a symbol of that description. */
function innerOf(outer: object, description: string): object | undefined {
  const symbol = Object.getOwnPropertySymbols(outer).find((own) => own.description === description);
  const inner: unknown = symbol && Reflect.get(outer, symbol);
  return isObject(inner) ? inner : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
