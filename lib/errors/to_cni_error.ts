import { CniError, type CniErrorOptions, ERROR_CODES, isBlank } from "../cni/error.ts";
import { HostError } from "../host/command.ts";
import {
  isPermissionDenied,
  missingFlags,
  permissionFlag,
  restrictedPath,
  type WantedPermissions,
} from "../host/permissions.ts";

/**
 * Converts a thrown value to a {@linkcode CniError} with a context.
 *
 * A missing Deno permission becomes kind `permission` with the exact flag, an abort becomes
 * `cancelled` (or the reason of the signal), a failed command of the host becomes `io`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { asCniError } from "./to_cni_error.ts";
 *
 * const error = asCniError(new Error("disk on fire"), { verb: "ADD", network: "web" });
 * assertEquals(error.message, 'Cannot ADD network "web": disk on fire');
 * ```
 */
export function asCniError(error: unknown, context: CniErrorOptions = {}): CniError {
  if (error instanceof CniError) return error.within(context);
  // The failure of a block says more than that of its clean-up.
  if (error instanceof SuppressedError) return asCniError(error.suppressed, context);
  const kept = restrictedPath(error);
  if (kept !== undefined) {
    const message =
      `Cannot open "${kept}": it is among the kernel's own files, where podwire does not store files`;
    const hint = "choose another directory";
    return new CniError("io", message, { ...context, code: ERROR_CODES.ioFailure, hint, cause: error });
  }
  const flag = permissionFlag(error);
  if (flag !== undefined) {
    const hint = `run again with ${flag}`;
    return new CniError("permission", `the Deno permission ${flag} is missing`, {
      ...context,
      hint,
      cause: error,
    });
  }
  const message = messageOf(error);
  if (isPermissionDenied(error)) {
    const hint = "run as root";
    return new CniError("permission", message, {
      ...context,
      code: ERROR_CODES.ioFailure,
      hint,
      cause: error,
    });
  }
  if (error instanceof DOMException && error.name === "AbortError") {
    return new CniError("cancelled", "the operation was cancelled", { ...context, cause: error });
  }
  // The reason of AbortSignal.timeout().
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return new CniError("timeout", "the time limit of the caller has expired", { ...context, cause: error });
  }
  if (error instanceof HostError && error.reason === "lock-timeout") {
    const hint =
      "try again once that process has ended; a stopped process has to be continued or ended first";
    return new CniError("timeout", message, { ...context, hint, cause: error });
  }
  if (error instanceof HostError) {
    return new CniError("io", message, {
      code: ERROR_CODES.ioFailure,
      exitCode: error.code,
      stderr: error.stderr,
      ...context,
      cause: error,
    });
  }
  if (isDefect(error)) {
    return new CniError("internal", message, { ...context, code: ERROR_CODES.internal, cause: error });
  }
  return new CniError("io", message, { ...context, code: ERROR_CODES.ioFailure, cause: error });
}

/** Returns the message of a thrown value, or its kind if it has no message. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) {
    return isBlank(thrown.message) ? `${thrown.name} without a message` : thrown.message;
  }
  if (typeof thrown === "string" && !isBlank(thrown)) return thrown;
  return `${thrown === null ? "null" : typeof thrown} was thrown in place of an error`;
}

/** Runs `body` and throws its errors as a {@linkcode CniError}. */
export async function withCniErrors<T>(body: () => Promise<T>, context: CniErrorOptions = {}): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw asCniError(error, context);
  }
}

/**
 * Refuses to start work that would stop half-way because a Deno permission is missing.
 *
 * @throws {CniError} kind `permission`, with all missing flags
 */
export function requirePermissions(wanted: WantedPermissions): void {
  const flags = missingFlags(wanted);
  if (flags.length === 0) return;
  const words = flags.join(" ");
  throw new CniError("permission", `the Deno permission ${words} is missing`, {
    hint: `run again with ${words}`,
  });
}

/** Whether an error is a misuse of the language, which no state of the machine can cause. */
function isDefect(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError ||
    error instanceof SyntaxError;
}
