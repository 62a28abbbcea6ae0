import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { messageOf } from "../errors/to_cni_error.ts";
import type { ByteStream } from "../host/unix_stream.ts";
import { type Request, RequestSchema, type Response, ResponseSchema } from "./generated/request_pb.ts";
import {
  FrameReader,
  framesOf,
  LARGEST_MESSAGE,
  MESSAGE_KINDS,
  MessageReader,
  type TtrpcMessage,
  TtrpcProtocolError,
} from "./ttrpc_frames.ts";

/** The codes of a status, those of gRPC, as far as they are used here. */
export const STATUS_CODES = {
  ok: 0,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  resourceExhausted: 8,
  unimplemented: 12,
  unavailable: 14,
} as const;

/** A call that failed, with the code of its status. */
export class TtrpcError extends Error {
  override readonly name = "TtrpcError";

  constructor(readonly code: number, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** A call of the other side. */
export interface IncomingCall extends Pick<Request, "service" | "method" | "payload"> {
  /** Fires when the connection ends. */
  readonly signal: AbortSignal;
}

/** How one side of a connection works. */
export interface TtrpcPeerOptions {
  readonly stream: ByteStream;
  /** The logical connection on which the other side calls. */
  readonly serves: number;
  /** The logical connection on which this side calls. */
  readonly calls: number;
  /** Answers a call. What it throws becomes the status: of a `TtrpcError`, with its code. */
  readonly handle: (call: IncomingCall) => Promise<Uint8Array>;
}

const READ_AT_ONCE = 64 * 1024;

/** One side of a connection: it calls the other, and answers its calls. */
export class TtrpcPeer implements Disposable {
  readonly #options: TtrpcPeerOptions;
  readonly #waiting = new Map<number, PromiseWithResolvers<Response>>();
  readonly #end = new AbortController();
  readonly #ended: Promise<Error>;
  #writing: Promise<void> = Promise.resolve();
  #lastCall = -1;
  #lastServed = -1;

  /** Begins to read. */
  constructor(options: TtrpcPeerOptions) {
    this.#options = options;
    this.#ended = this.#read();
  }

  /** Resolves with the reason when the connection has ended. */
  get ended(): Promise<Error> {
    return this.#ended;
  }

  /**
   * Calls the other side, and returns what it answers.
   *
   * @throws {TtrpcError} with the status of the answer, or `unavailable` if the connection ends, or the reason of the signal
   */
  async call(
    { service, method, payload }: Pick<Request, "service" | "method" | "payload">,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    signal?.throwIfAborted();
    if (this.#end.signal.aborted) throw this.#end.signal.reason;
    const stream = this.#lastCall += 2;
    const answer = Promise.withResolvers<Response>();
    this.#waiting.set(stream, answer);
    const onAbort = () => answer.reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const data = toBinary(RequestSchema, create(RequestSchema, { service, method, payload }));
      this.#send(this.#options.calls, stream, MESSAGE_KINDS.request, data);
      const { status, payload: answered } = await answer.promise;
      const { code = STATUS_CODES.ok, message = "" } = status ?? {};
      if (code !== STATUS_CODES.ok) throw new TtrpcError(code, message);
      return answered;
    } finally {
      this.#waiting.delete(stream);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Resolves when all that was sent so far has been written, or cannot be. */
  async flushed(): Promise<void> {
    await this.#writing;
  }

  /** Ends the connection. */
  [Symbol.dispose](): void {
    this.#close(new TtrpcError(STATUS_CODES.unavailable, "the connection was closed on this side"));
  }

  async #read(): Promise<Error> {
    const { stream, serves, calls } = this.#options;
    const readers = new Map([
      [serves, new MessageReader((message) => this.#onCall(message))],
      [calls, new MessageReader((message) => this.#onAnswer(message))],
    ]);
    // What comes on other logical connections is for a version that knows them.
    const frames = new FrameReader((connection, bytes) => readers.get(connection)?.push(bytes));
    const buffer = new Uint8Array(READ_AT_ONCE);
    try {
      for (let count = await stream.read(buffer); count !== null; count = await stream.read(buffer)) {
        frames.push(buffer.subarray(0, count));
      }
      const isTorn = frames.isWithin || [...readers.values()].some(({ isWithin }) => isWithin);
      if (isTorn) throw new TtrpcProtocolError("Cannot read a message: the connection ended within it");
      this.#close(new TtrpcError(STATUS_CODES.unavailable, "the other side closed the connection"));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const isProtocol = error instanceof TtrpcProtocolError;
      this.#close(isProtocol ? error : new TtrpcError(STATUS_CODES.unavailable, message, { cause: error }));
    }
    return this.#end.signal.reason;
  }

  #close(reason: Error): void {
    if (this.#end.signal.aborted) return;
    this.#end.abort(reason);
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#options.stream[Symbol.dispose]();
  }

  #onAnswer({ stream, kind, data }: TtrpcMessage): void {
    const waiting = this.#waiting.get(stream);
    // The answer to a call that was given up, or to none.
    if (kind !== MESSAGE_KINDS.response || waiting === undefined) return;
    if (data === undefined) return waiting.reject(tooLarge("answer"));
    try {
      waiting.resolve(fromBinary(ResponseSchema, data));
    } catch (error) {
      waiting.reject(new TtrpcError(STATUS_CODES.unknown, `Cannot read the answer: ${messageOf(error)}`));
    }
  }

  #onCall({ stream, kind, data }: TtrpcMessage): void {
    const refuse = (code: number, message: string) => this.#answer(stream, { status: { code, message } });
    if (stream % 2 === 0) return refuse(STATUS_CODES.invalidArgument, "the number of a call must be odd");
    if (data === undefined) return refuse(STATUS_CODES.resourceExhausted, tooLarge("call").message);
    if (kind === MESSAGE_KINDS.data) return refuse(STATUS_CODES.invalidArgument, "no call takes a stream");
    if (kind !== MESSAGE_KINDS.request) return;
    if (stream <= this.#lastServed) {
      return refuse(STATUS_CODES.invalidArgument, "the numbers of calls must grow");
    }
    this.#lastServed = stream;
    let request: Request;
    try {
      request = fromBinary(RequestSchema, data);
    } catch (error) {
      return refuse(STATUS_CODES.invalidArgument, `Cannot read the call: ${messageOf(error)}`);
    }
    void this.#serve(stream, request);
  }

  async #serve(stream: number, { service, method, payload }: Request): Promise<void> {
    try {
      const call = { service, method, payload, signal: this.#end.signal };
      this.#answer(stream, { payload: await this.#options.handle(call) });
    } catch (error) {
      const code = error instanceof TtrpcError ? error.code : STATUS_CODES.unknown;
      this.#answer(stream, { status: { code, message: messageOf(error) } });
    }
  }

  #answer(stream: number, response: MessageInitShape<typeof ResponseSchema>): void {
    const print = (message: typeof response) => toBinary(ResponseSchema, create(ResponseSchema, message));
    const { code, message } = tooLarge("answer");
    const whole = print(response);
    const data = whole.length <= LARGEST_MESSAGE ? whole : print({ status: { code, message } });
    this.#send(this.#options.serves, stream, MESSAGE_KINDS.response, data);
  }

  #send(connection: number, stream: number, kind: number, data: Uint8Array): void {
    if (data.length > LARGEST_MESSAGE) throw tooLarge("call");
    const bytes = framesOf(connection, { stream, kind, data });
    this.#writing = this.#writing.then(async () => {
      if (!this.#end.signal.aborted) await this.#options.stream.write(bytes);
    }).catch((error) => {
      this.#close(new TtrpcError(STATUS_CODES.unavailable, messageOf(error), { cause: error }));
    });
  }
}

function tooLarge(what: "call" | "answer"): TtrpcError {
  return new TtrpcError(
    STATUS_CODES.resourceExhausted,
    `the ${what} is larger than ${LARGEST_MESSAGE} bytes`,
  );
}
