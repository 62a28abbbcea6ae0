/** A client of the CRI that costs as little as one of HTTP does: `fetch` over HTTP/2, in this process. */
import {
  create,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { MessageShape } from "@bufbuild/protobuf";

type Message = DescMethodUnary["input"];

/** Bytes before a message of gRPC: whether it is compressed, and its length. */
const PREFIX = 5;

/** Calls of gRPC. `fetch` has no trailers, so a call without a message in its answer counts as failed. */
export class CriClient implements Disposable {
  readonly #http: Deno.HttpClient;

  /** Connects to the socket at a path. */
  constructor(path: string) {
    this.#http = Deno.createHttpClient({ proxy: { transport: "unix", path }, http1: false, http2: true });
  }

  /** Makes a call, and returns its answer. */
  async call<I extends Message, O extends Message>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    return fromBinary(method.output, await this.send(method, request));
  }

  /** Makes a call, and returns the bytes of its answer: what a client does with them is its own. */
  async send<I extends Message, O extends Message>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<Uint8Array> {
    const message = toBinary(method.input, create(method.input, request));
    const body = new Uint8Array(PREFIX + message.length);
    new DataView(body.buffer).setUint32(1, message.length);
    body.set(message, PREFIX);
    const response = await fetch(`http://podwire/${method.parent.typeName}/${method.name}`, {
      client: this.#http,
      method: "POST",
      headers: { "content-type": "application/grpc", te: "trailers" },
      body,
    });
    const answer = await response.bytes();
    if (answer.length < PREFIX) throw new Error(`Cannot call ${method.name}: there is no answer`);
    return answer.subarray(PREFIX);
  }

  [Symbol.dispose](): void {
    this.#http.close();
  }
}
