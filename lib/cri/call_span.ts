import { createContextKey, type Interceptor } from "@connectrpc/connect";
import type { SpanAttributes, Tracer } from "../host/telemetry.ts";
import { codeName } from "./grpc_error.ts";
import type { GrpcResponse } from "./transport.ts";

/** How a call has ended. */
export interface CallEnd {
  /** The number of its status; 0 if it has succeeded. */
  readonly status: number;
  /** The message of its status. */
  readonly msg: string;
}

/** A call in a trace, while it runs. */
export interface CallSpan {
  /** Adds what became known while it ran. */
  note(attributes: SpanAttributes): void;
  /** Ends it. Only the first call counts. */
  end(end: CallEnd): void;
}

/** That of a call that is not recorded. */
export const NO_CALL_SPAN: CallSpan = { note() {}, end() {} };

/** Under this key an interceptor finds the span of its call. */
export const CALL_SPAN = createContextKey<CallSpan>(NO_CALL_SPAN);

/** What a span says of its call from the beginning. */
export interface SpannedCall {
  readonly service: string;
  readonly method: string;
  /** The `traceparent` of its client; empty if there is none. */
  readonly caller: string;
}

/**
 * Answers a call inside a span, so that the operations of the runtime become its children. The span of a stream ends with the
 * stream. `answer` must not throw, and the span that it gets must be ended once.
 */
export async function withCallSpan(
  tracer: Tracer | undefined,
  { service, method, caller }: SpannedCall,
  answer: (span: CallSpan) => Promise<GrpcResponse>,
): Promise<GrpcResponse> {
  if (tracer === undefined) return await answer(NO_CALL_SPAN);
  const answered = Promise.withResolvers<GrpcResponse>();
  const attributes = { "rpc.system": "grpc", "rpc.service": service, "rpc.method": method };
  const spanned = tracer.span(`CRI ${method}`, attributes, async (span) => {
    const ended = Promise.withResolvers<CallEnd>();
    answered.resolve(await answer({ note: (more) => span.note(more), end: ended.resolve }));
    const { status, msg } = await ended.promise;
    span.note({ "rpc.grpc.status_code": status });
    // What is thrown is the status of the span.
    if (status !== 0) throw new Error(msg === "" ? codeName(status) : msg);
  }, caller);
  spanned.catch(answered.reject);
  return await answered.promise;
}

/** Notes in the span of a call of which sandbox it is. */
export const notesSandbox: Interceptor = (next) => async (request) => {
  const span = request.contextValues.get(CALL_SPAN);
  if (span === NO_CALL_SPAN) return await next(request);
  const noteOf = (message: object) => {
    const id: unknown = Reflect.get(message, "podSandboxId");
    if (typeof id === "string" && id !== "") span.note({ "podwire.sandbox_id": id });
  };
  if (!request.stream) noteOf(request.message);
  const response = await next(request);
  if (!response.stream) noteOf(response.message);
  return response;
};
