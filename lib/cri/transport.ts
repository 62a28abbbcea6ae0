import type { UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import type { Logger } from "../host/log.ts";
import type { SocketListener } from "../daemon/served_socket.ts";

/** A call as it arrived. */
export interface GrpcRequest extends UniversalServerRequest {
  readonly body: AsyncIterable<Uint8Array>;
}

/** The answer to a call. Its trailer is complete once its body has ended. */
export interface GrpcResponse extends UniversalServerResponse {
  readonly body: AsyncIterable<Uint8Array>;
  readonly trailer: Headers;
}

/** Answers a call. It never throws, but the body that it returns may. */
export type AnswerGrpc = (request: GrpcRequest) => Promise<GrpcResponse>;

/** One way to serve HTTP/2 on a Unix socket. Which of them works depends on the version of Deno. */
export interface GrpcTransport {
  /** Its name in messages. */
  readonly name: string;
  /** Begins to serve at a path. */
  listen(path: string, answer: AnswerGrpc, log: Logger): SocketListener | Promise<SocketListener>;
}
