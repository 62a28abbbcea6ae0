import type { CallOptions } from "../async/call_options.ts";
import { CniError, type CniErrorOptions, ERROR_CODES, ERROR_KINDS } from "../cni/error.ts";
import { isObject, type Json, type JsonObject, parseJson } from "../cni/json.ts";
import { anyNumber, anyText, lenient, oneOf, openObjectOf } from "../cni/shape.ts";
import { call } from "../errors/call.ts";
import { HostError } from "../host/command.ts";
import { requestOverUnix, streamOverUnix } from "../host/http_over_unix.ts";

/** An answer that arrives in pieces, until it is disposed of. */
export interface StreamedAnswer extends Disposable {
  readonly lines: AsyncIterable<string>;
}

/** Sends requests to the daemon that serves at a Unix socket, and turns its errors into exceptions. */
export class DaemonConnection {
  readonly #socket: string;

  /** Connects at each request. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /**
   * Returns the text of an answer while it arrives.
   *
   * @throws {CniError} as {@linkcode DaemonConnection.ask}
   */
  async stream(target: string, { signal }: CallOptions): Promise<StreamedAnswer> {
    const request = { method: "GET", target, body: "", signal };
    const answer = await this.#reach(() => streamOverUnix(this.#socket, request));
    if (answer.status === 200) {
      return {
        lines: answer.text,
        [Symbol.dispose]: () => answer[Symbol.dispose](),
      };
    }
    using _answer = answer;
    throw this.#failureOf(answer.status, (await Array.fromAsync(answer.text)).join(""));
  }

  /**
   * Returns the JSON of a successful answer.
   *
   * @throws {CniError} the error of the daemon; kind `not-ready` if no daemon serves, `io` if it ended before it answered
   */
  async ask(
    { method, target, body = "", isAnswer = isObject }: {
      readonly method: string;
      readonly target: string;
      readonly body?: string;
      /** Whether the JSON of a successful answer is one of podwire. @default {isObject} */
      readonly isAnswer?: (json: Json | undefined) => boolean;
    },
    { signal }: CallOptions,
  ): Promise<Json | undefined> {
    return await call({ signal }, async () => {
      const request = { method, target, body, signal };
      const { status, text } = await this.#reach(() => requestOverUnix(this.#socket, request));
      const json = parsedJson(text);
      if (status >= 200 && status < 300 && isAnswer(json)) return json;
      throw this.#failureOf(status, text);
    });
  }

  /** Returns the error that the daemon answered with. */
  #failureOf(status: number, text: string): CniError {
    const json = parsedJson(text);
    const error = isObject(json) ? json.error : undefined;
    return isObject(error) ? failureOf(error) : this.#unlike(`it answers with ${status}`);
  }

  async #reach<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      if (cause.reason === "bad-output") throw this.#unlike(cause.message);
      if (cause.reason === "cut-short") throw this.#lost(cause);
      if (cause.reason !== "no-answer") throw cause;
      throw new CniError("not-ready", `no daemon serves at ${this.#socket}`, {
        code: ERROR_CODES.ioFailure,
        hint: `start one with \`podwire serve --socket ${this.#socket}\`, or leave --socket out`,
        cause,
      });
    }
  }

  #lost(cause: HostError): CniError {
    return new CniError("io", `the daemon at ${this.#socket} has ended before it answered`, {
      code: ERROR_CODES.ioFailure,
      hint:
        "`podwire ps` shows whether the sandbox is there; what was half done is undone by `podwire recover`",
      cause,
    });
  }

  #unlike(details: string): CniError {
    const msg = `what serves at ${this.#socket} is not podwire`;
    return new CniError("io", msg, { code: ERROR_CODES.ioFailure, details });
  }
}

/** Reads JSON; undefined if the text is none. */
export function parsedJson(text: string): Json | undefined {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

const TEXT = lenient(anyText);
const NUMBER = lenient(anyNumber);

/** The members of an error beside its kind, code, message and plugin. */
const DETAILS = {
  details: TEXT,
  verb: TEXT,
  network: TEXT,
  containerId: TEXT,
  ifName: TEXT,
  exitCode: NUMBER,
  signal: TEXT,
  stderr: TEXT,
  elapsedMs: NUMBER,
  file: TEXT,
  line: NUMBER,
  column: NUMBER,
  path: TEXT,
  hint: TEXT,
} as const satisfies Record<keyof Omit<CniErrorOptions, "code" | "plugin" | "cause">, unknown>;

/** An error as JSON. A member of the wrong type counts as missing. */
const ERROR = openObjectOf({}, {
  kind: lenient(oneOf(ERROR_KINDS)),
  msg: TEXT,
  code: NUMBER,
  plugin: TEXT,
  pluginIndex: NUMBER,
  pluginCount: NUMBER,
  ...DETAILS,
});

/** Returns the error that was printed as this object. */
export function failureOf(json: JsonObject): CniError {
  // `details` keeps the order of the object, so that the error is printed as it was.
  const { kind = "internal", msg = "", code, plugin: type, pluginIndex, pluginCount, ...details } = ERROR
    .read(
      json,
      [],
    );
  return new CniError(kind, msg, {
    ...details,
    code: code ?? ERROR_CODES.unknown,
    plugin: type === undefined ? undefined : { type, index: pluginIndex, count: pluginCount },
  });
}
