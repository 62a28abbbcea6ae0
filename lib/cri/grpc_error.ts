import { Code, ConnectError } from "@connectrpc/connect";
import { CniError, type ErrorKind } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";

/** Status codes by the kind of the error; `Unknown` for the others, as containerd and CRI-O answer. */
const CODES: Readonly<Partial<Record<ErrorKind, Code>>> = {
  usage: Code.InvalidArgument,
  config: Code.FailedPrecondition,
  "not-found": Code.NotFound,
  conflict: Code.AlreadyExists,
  permission: Code.PermissionDenied,
  timeout: Code.DeadlineExceeded,
  cancelled: Code.Canceled,
  "not-ready": Code.Unavailable,
  exhausted: Code.ResourceExhausted,
  internal: Code.Internal,
};

/** Returns the error of gRPC for anything that was thrown. The message is the one of the command line. */
export function asGrpcError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  const failure = asCniError(error);
  return new ConnectError(
    failure.message,
    CODES[failure.kind] ?? Code.Unknown,
    undefined,
    undefined,
    failure,
  );
}

/** Returns the error for a call that podwire does not have, with the reason. */
export function unimplemented(what: string, why: string): ConnectError {
  return new ConnectError(`Cannot ${what}: ${why}`, Code.Unimplemented);
}

/** Returns the error for a field of a request. */
export function invalidField(field: string, problem: string): ConnectError {
  return new ConnectError(`${field}: ${problem}`, Code.InvalidArgument);
}

/** Returns the error for an ID that names nothing. */
export function notFound(what: string, id: string): ConnectError {
  return new ConnectError(`there is no ${what} "${id}"`, Code.NotFound);
}

/** Returns the error for a call that cannot begin now, but may soon. */
export function tryLater(msg: string): ConnectError {
  return new ConnectError(msg, Code.Unavailable);
}

/** The name of a status, as gRPC writes it. */
export function codeName(code: number): string {
  if (code === 0) return "OK";
  // The library spells it with one L.
  if (code === Code.Canceled) return "CANCELLED";
  return (Code[code] ?? "Unknown").replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

/** Returns the reason of a signal as an error of podwire: the deadline of the client, or that it has left. */
export function reasonOf({ reason }: AbortSignal): CniError {
  if (reason instanceof CniError) return reason;
  if (reason instanceof ConnectError && reason.code === Code.DeadlineExceeded) {
    return new CniError("timeout", "the deadline of the client has passed");
  }
  return new CniError("cancelled", "the client has cancelled the call");
}
