import type { CallOptions } from "../async/call_options.ts";
import type { CniErrorOptions } from "../cni/error.ts";
import { asCniError } from "./to_cni_error.ts";

/**
 * Runs the body of a public method: it does not begin if the signal has fired already, and everything that is thrown
 * becomes a {@linkcode CniError}, with the context.
 *
 * @throws {CniError} with the failure of the body, or with the reason of the signal
 */
export async function call<T>(
  { signal }: CallOptions,
  body: () => T | Promise<T>,
  context: CniErrorOptions = {},
): Promise<T> {
  try {
    signal?.throwIfAborted();
    return await body();
  } catch (error) {
    throw asCniError(error, context);
  }
}
