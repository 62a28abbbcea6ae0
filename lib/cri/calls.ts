import {
  Code,
  type ConnectError,
  type ConnectRouter,
  createConnectRouter,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import type { Tracer } from "../host/telemetry.ts";
import { ShutdownError } from "../daemon/http_error.ts";
import { CALL_SPAN, type CallSpan, notesSandbox, withCallSpan } from "./call_span.ts";
import { asGrpcError, codeName, reasonOf, tryLater, unimplemented } from "./grpc_error.ts";
import type { ServedCall } from "./metrics.ts";
import type { GrpcRequest, GrpcResponse } from "./transport.ts";

/** Options of {@linkcode CriCalls}. */
export interface CriCallsOptions {
  /** Registers the services. */
  readonly routes: (router: ConnectRouter) => unknown;
  readonly log: Logger;
  /** How many calls of one method may run at once. */
  readonly maxRequests: number;
  /** Milliseconds for one call, whatever deadline its client gives. A stream has none. */
  readonly requestMs: number;
  /** Records each call as a span. @default {none is recorded} */
  readonly tracer?: Tracer | undefined;
  /** Called for each call once it has been answered. */
  readonly onServed?: ((served: ServedCall) => void) | undefined;
}

/** The largest message that is read: the largest that a client of Kubernetes sends, and no more. */
export const LARGEST_MESSAGE = 16 * 1024 * 1024;

/** A call while it runs. */
interface RunningCall {
  readonly controller: AbortController;
  readonly startedAt: number;
  /** Its name; `other` for one that the CRI does not have. */
  readonly method: string;
  readonly span: CallSpan;
}

/** Answers the calls of the services: limits, cancels, logs and counts them. */
export class CriCalls {
  readonly #options: CriCallsOptions;
  readonly #handlers: ReadonlyMap<string, UniversalHandler>;
  readonly #running = new Set<RunningCall>();
  #draining = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: CriCallsOptions) {
    this.#options = options;
    const router = createConnectRouter({
      connect: false,
      grpcWeb: false,
      readMaxBytes: LARGEST_MESSAGE,
      interceptors: [notesSandbox, withGrpcErrors],
    });
    options.routes(router);
    this.#handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  }

  /** Number of running calls. */
  get underWay(): number {
    return this.#running.size;
  }

  /** Begins no more calls, and resolves when the last one has ended. */
  async drained(): Promise<void> {
    this.#draining = true;
    if (this.#running.size === 0) return;
    await (this.#idle ??= Promise.withResolvers<void>()).promise;
  }

  /** Cancels all calls. */
  cancel(): void {
    for (const { controller } of this.#running) controller.abort(new ShutdownError());
  }

  /** Answers a call. It never throws. */
  async answer(request: GrpcRequest): Promise<GrpcResponse> {
    const { pathname } = new URL(request.url);
    const handler = this.#handlers.get(pathname);
    const method = handler?.method.name ?? "other";
    const service = handler?.service.typeName ?? "other";
    const spanned = { service, method, caller: request.header.get("traceparent") ?? "" };
    return await withCallSpan(this.#options.tracer, spanned, (span) => {
      const call = { controller: new AbortController(), startedAt: performance.now(), method, span };
      return this.#answer(request, handler, call);
    });
  }

  async #answer(
    request: GrpcRequest,
    handler: UniversalHandler | undefined,
    call: RunningCall,
  ): Promise<GrpcResponse> {
    const refusal = this.#refusal(call.method);
    this.#running.add(call);
    if (handler === undefined || refusal !== undefined) {
      const response = refused(refusal ?? unknownCall(new URL(request.url).pathname));
      this.#end(call, response);
      return response;
    }
    const leave = () => call.controller.abort(new CniError("cancelled", "the client has left"));
    const { signal } = request;
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
    const release = () => signal.removeEventListener("abort", leave);
    return handler.method.methodKind === "unary"
      ? await this.#answerWhole(request, handler, call).finally(release)
      : await this.#answerStream(request, handler, call, release);
  }

  /** Answers a call that has one message as its answer. The call ends with its work, even if its client leaves before. */
  async #answerWhole(
    request: GrpcRequest,
    handler: UniversalHandler,
    call: RunningCall,
  ): Promise<GrpcResponse> {
    const { requestMs } = this.#options;
    const late = () =>
      call.controller.abort(new CniError("timeout", `the call took longer than ${requestMs} ms`));
    const timer = setTimeout(late, requestMs);
    const response = await this.#handle(request, handler, call);
    try {
      const pieces = await Array.fromAsync(response.body);
      this.#end(call, response);
      return { ...response, body: piecesOf(pieces) };
    } catch (error) {
      const failed = refused(asGrpcError(error));
      this.#end(call, failed);
      return failed;
    } finally {
      clearTimeout(timer);
    }
  }

  async #answerStream(
    request: GrpcRequest,
    handler: UniversalHandler,
    call: RunningCall,
    release: () => void,
  ): Promise<GrpcResponse> {
    const response = await this.#handle(request, handler, call);
    const end = () => {
      release();
      this.#end(call, response);
    };
    // A response that nothing reads any more ends nothing by itself.
    call.controller.signal.addEventListener("abort", end, { once: true });
    if (call.controller.signal.aborted) end();
    return { ...response, body: withEnd(response.body, end) };
  }

  async #handle(request: GrpcRequest, handler: UniversalHandler, call: RunningCall): Promise<GrpcResponse> {
    const { httpVersion, method, url, header, body } = request;
    try {
      const answer = await handler({
        httpVersion,
        method,
        url,
        header,
        body: readWhole(body),
        signal: call.controller.signal,
        contextValues: createContextValues().set(CALL_SPAN, call.span),
      });
      return {
        status: answer.status,
        header: answer.header ?? new Headers(),
        body: answer.body ?? piecesOf([]),
        trailer: answer.trailer ?? new Headers(),
      };
    } catch (error) {
      return refused(asGrpcError(error));
    }
  }

  #refusal(method: string): ConnectError | undefined {
    const { maxRequests } = this.#options;
    if (this.#draining) return tryLater("podwire is shutting down");
    let running = 0;
    for (const other of this.#running) if (other.method === method) running++;
    return running < maxRequests
      ? undefined
      : tryLater(`${running} calls of ${method} are running; try again`);
  }

  #end(call: RunningCall, { status, trailer }: GrpcResponse): void {
    if (!this.#running.delete(call)) return;
    if (this.#running.size === 0) this.#idle?.resolve();
    const { log, onServed } = this.#options;
    const { method, startedAt, span } = call;
    const ms = performance.now() - startedAt;
    const given = trailer.get("grpc-status") ?? String(codeFromStatus(status));
    const code = codeName(Number(given));
    const msg = decodeURIComponent(trailer.get(MESSAGE) ?? "");
    // Clients decode no more than what gRPC wants to be encoded, and the library encodes more.
    if (msg !== "") trailer.set(MESSAGE, encodeMessage(msg));
    if (code === "INTERNAL") log.error(msg, { method });
    log.info("call", { method, code, ms: Math.round(ms * 10) / 10, ...(msg === "" ? {} : { msg }) });
    span.end({ status: Number(given), msg });
    onServed?.({ method, code, ms });
  }
}

const MESSAGE = "grpc-message";

/** Encodes a message as gRPC over HTTP/2 does: what is not printable ASCII, and the percent sign. */
function encodeMessage(msg: string): string {
  return msg.toWellFormed().replace(/[^ -$&-~]+|%/g, encodeURIComponent);
}

/** Clients of gRPC read an answer that is not one of gRPC as this. */
function codeFromStatus(status: number): Code | 0 {
  return status === 200 ? 0 : Code.Unknown;
}

/** Turns what an implementation throws into the errors of gRPC. */
const withGrpcErrors: Interceptor = (next) => async (request) => {
  const asOfCall = (error: unknown) => {
    const { signal } = request;
    const failure = asGrpcError(error);
    const isOver = failure.code === Code.Canceled || failure.code === Code.DeadlineExceeded;
    return signal.aborted && isOver ? asGrpcError(reasonOf(signal)) : failure;
  };
  try {
    const response = await next(request);
    return response.stream ? { ...response, message: rethrown(response.message, asOfCall) } : response;
  } catch (error) {
    throw asOfCall(error);
  }
};

async function* rethrown<T>(messages: AsyncIterable<T>, as: (error: unknown) => Error): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw as(error);
  }
}

function refused(error: ConnectError): GrpcResponse {
  const trailer = new Headers();
  setTrailerStatus(trailer, error);
  const header = new Headers({ "content-type": "application/grpc" });
  return { status: 200, header, body: piecesOf([]), trailer };
}

function unknownCall(path: string): ConnectError {
  const [, service = "", method = ""] = path.split("/");
  if (/^runtime\.v1(alpha|beta)/.test(service)) {
    return unimplemented(`serve ${service}`, "podwire serves version v1 of the CRI, runtime.v1");
  }
  return unimplemented("answer", `podwire has no call "${method}" of the service "${service}"`);
}

/** Not a stream: to make one and to release its reader costs more than the rest of a small call. */
async function* piecesOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

/** A request that cannot be read to its end is that of a client that has left: podwire is not at fault. */
async function* readWhole(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw asGrpcError(new CniError("cancelled", "the client has left", { cause }));
  }
}

/** Calls `end` when the body has ended, failed, or is not read to its end. */
function withEnd(body: AsyncIterable<Uint8Array>, end: () => void): AsyncIterable<Uint8Array> {
  return {
    async *[Symbol.asyncIterator]() {
      try {
        yield* body;
      } finally {
        end();
      }
    },
  };
}
