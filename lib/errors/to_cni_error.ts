import { HostError } from "../host/command.ts";
import {
  isPermissionDenied,
  missingFlags,
  permissionFlag,
  restrictedPath,
  type WantedPermissions,
} from "../host/permissions.ts";
import { CniError, type CniErrorOptions, ERROR_CODES, isBlank } from "../cni/error.ts";

/**
 * Whatever was thrown, as a {@linkcode CniError} that also says what was tried.
 *
 * A missing Deno permission becomes kind `permission` with the exact flag, an abort becomes
 * `cancelled` (or what the signal's reason says), a failed command of the host becomes `io`.
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
  const kept = restrictedPath(error);
  if (kept !== undefined) {
    const message = `Cannot open "${kept}": it is among the kernel's own files, where podwire keeps nothing`;
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
  // What AbortSignal.timeout() fires with.
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return new CniError("timeout", "the caller's time is up", { ...context, cause: error });
  }
  if (error instanceof HostError && error.reason === "lock-timeout") {
    const hint = "try again once that process has ended; one that is stopped has to be continued or ended";
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

/** What was thrown says of itself, or of what kind it is where it says nothing. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) {
    return isBlank(thrown.message) ? `${thrown.name} without a message` : thrown.message;
  }
  if (typeof thrown === "string" && !isBlank(thrown)) return thrown;
  return `${thrown === null ? "null" : typeof thrown} was thrown in place of an error`;
}

/** Runs `body`; whatever it throws comes out as a {@linkcode CniError}. */
export async function withCniErrors<T>(body: () => Promise<T>, context: CniErrorOptions = {}): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw asCniError(error, context);
  }
}

/**
 * Refuses to begin what would stop half-way for want of a Deno permission.
 *
 * @throws {CniError} kind `permission`, naming all flags at once
 */
export async function requirePermissions(wanted: WantedPermissions): Promise<void> {
  const flags = await missingFlags(wanted);
  if (flags.length === 0) return;
  const words = flags.join(" ");
  throw new CniError("permission", `the Deno permission ${words} is missing`, {
    hint: `run again with ${words}`,
  });
}

/** Misuse of the language, which no state of the machine explains. */
function isDefect(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError ||
    error instanceof SyntaxError;
}
