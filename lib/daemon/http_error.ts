import { asCniError } from "../errors/to_cni_error.ts";
import { CniError, type ErrorKind } from "../cni/error.ts";
import { BadMessage } from "./http_message.ts";

/** Statuses by the kind of the error; 500 for the others. 499 is read by nobody but the log: the client has left. */
const STATUSES: Readonly<Partial<Record<ErrorKind, number>>> = {
  usage: 400,
  config: 400,
  "not-found": 404,
  conflict: 409,
  "not-ready": 503,
  exhausted: 503,
  timeout: 504,
  cancelled: 499,
};

/** An error of the protocol, whose status its kind does not say. */
export class HttpError extends Error {
  override readonly name: string = "HttpError";

  constructor(
    readonly status: number,
    readonly failure: CniError,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(failure.message);
  }
}

/** Where the next request begins is not known. */
const CLOSE = { connection: "close" };

/** How an error is answered. */
export interface FailedAnswer {
  readonly status: number;
  readonly failure: CniError;
  readonly headers: Readonly<Record<string, string>>;
}

/** How whatever was thrown is answered. */
export function failedAnswer(error: unknown): FailedAnswer {
  if (error instanceof HttpError) return error;
  if (error instanceof BadMessage) {
    return { status: error.status, failure: new CniError("usage", error.message), headers: CLOSE };
  }
  const failure = asCniError(error);
  return { status: STATUSES[failure.kind] ?? 500, failure, headers: {} };
}

/** No request begins at present, but may soon. */
export function tryLater(msg: string): HttpError {
  return new HttpError(503, new CniError("not-ready", msg, { hint: "try again" }), { "retry-after": "1" });
}
