/** Calls of the CRI by a client that is not ours, in a process of its own. */
import { fromFileUrl } from "@std/path";
import { CRI_PROTO, GRPC_JS } from "../root/need.ts";

const PROGRAM = fromFileUrl(new URL("grpc_client.mjs", import.meta.url));

/** The answer to a call. */
export interface GrpcAnswer {
  /** The name of its status, such as `OK` or `NOT_FOUND`. */
  readonly code: string;
  readonly details: string;
  // deno-lint-ignore no-explicit-any
  readonly response: any;
}

/** How a call is made. */
export interface GrpcCallOptions {
  readonly service?: "RuntimeService" | "ImageService";
  /** Its deadline. */
  readonly timeoutMs?: number;
  /** Milliseconds after which the client cancels it. */
  readonly cancelAfterMs?: number;
  /** Calls of the same number share a connection. */
  readonly connection?: number;
  /** Bytes that are added to the annotations of the sandbox. */
  readonly padding?: number;
  /** Headers of the call. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The bytes of the request, in the place of a message. */
  readonly bytes?: readonly number[];
  /** Called for each message of a stream. */
  // deno-lint-ignore no-explicit-any
  readonly onEvent?: (event: any) => void;
}

/** A call that runs. */
export interface RunningCall {
  readonly answer: Promise<GrpcAnswer>;
  cancel(): void;
}

/** Node with @grpc/grpc-js. */
export class GrpcClient implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting = new Map<
    number,
    PromiseWithResolvers<GrpcAnswer> & { readonly onEvent: GrpcCallOptions["onEvent"] }
  >();
  readonly #read: Promise<void>;
  #last = 0;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#writer = child.stdin.getWriter();
    this.#read = this.#readAnswers();
  }

  /** Starts it for the socket at a path. */
  static start(socket: string): GrpcClient {
    const args = [PROGRAM, GRPC_JS, CRI_PROTO, socket];
    return new GrpcClient(
      new Deno.Command("node", { args, stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn(),
    );
  }

  /** Begins a call. */
  begin(method: string, request: unknown = {}, options: GrpcCallOptions = {}): RunningCall {
    const { service = "RuntimeService", onEvent, ...more } = options;
    const id = ++this.#last;
    const answer = Promise.withResolvers<GrpcAnswer>();
    this.#waiting.set(id, { ...answer, onEvent });
    this.#send({ id, service, method, request, ...more });
    return { answer: answer.promise, cancel: () => this.#send({ cancel: id }) };
  }

  /** Makes a call. */
  async call(method: string, request: unknown = {}, options: GrpcCallOptions = {}): Promise<GrpcAnswer> {
    return await this.begin(method, request, options).answer;
  }

  /** Makes a call that succeeds, and returns its message. */
  // deno-lint-ignore no-explicit-any
  async ok(method: string, request: unknown = {}, options: GrpcCallOptions = {}): Promise<any> {
    const { code, details, response } = await this.call(method, request, options);
    if (code !== "OK") throw new Error(`${method}: ${code}: ${details}`);
    return response;
  }

  /** Closes a connection, whatever runs on it. */
  close(connection: number): void {
    this.#send({ close: connection });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#read;
  }

  #send(line: unknown): void {
    void this.#writer.write(new TextEncoder().encode(`${JSON.stringify(line)}\n`)).catch(() => {});
  }

  async #readAnswers(): Promise<void> {
    let text = "";
    for await (const piece of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (text + piece).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const { id, event, ...answer } = JSON.parse(line);
        if (event !== undefined) this.#waiting.get(id)?.onEvent?.(event);
        else {
          this.#waiting.get(id)?.resolve(answer);
          this.#waiting.delete(id);
        }
      }
    }
    for (const { reject } of this.#waiting.values()) reject(new Error("the client has ended"));
  }
}
