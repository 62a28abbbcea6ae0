import { CniError, type ErrorKind } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { BadMessage } from "./http_message.ts";

/** Statuses by the kind of the error; 500 for the others. Only the log shows 499: the client has left. */
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

/** An error of the protocol. Its status does not follow from its kind. */
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

/** The reason to refuse or cancel requests while the daemon ends. Clients may send them again. */
export class ShutdownError extends CniError {
  constructor() {
    super("cancelled", "podwire is shutting down");
  }
}

/** The start of the next request is unknown, so the connection ends. */
const CLOSE = { connection: "close" };

/** The answer to a request that failed. */
export interface FailedAnswer {
  readonly status: number;
  readonly failure: CniError;
  readonly headers: Readonly<Record<string, string>>;
}

/** Returns the answer for anything that was thrown. */
export function failedAnswer(error: unknown): FailedAnswer {
  if (error instanceof HttpError) return error;
  if (error instanceof ShutdownError) return tryLater(error.msg);
  if (error instanceof BadMessage) {
    return { status: error.status, failure: new CniError("usage", error.message), headers: CLOSE };
  }
  const failure = asCniError(error);
  return { status: STATUSES[failure.kind] ?? 500, failure, headers: {} };
}

/** The error for a request that cannot begin now, but may soon. */
export function tryLater(msg: string): HttpError {
  return new HttpError(503, new CniError("not-ready", msg, { hint: "try again" }), { "retry-after": "1" });
}
