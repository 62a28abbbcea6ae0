import type { Logger } from "../host/log.ts";
import { asCniError } from "../errors/to_cni_error.ts";

/**
 * Writes how far a tear-down is. A disk that is full or read-only must not bar the way out, so that failure is only
 * told: the record stays as it was, from which a later call or recovery does the same again.
 *
 * @throws {CniError} if a permission is missing
 */
export async function writeBestEffort(
  write: () => Promise<void>,
  log: Logger,
  facts: Readonly<Record<string, unknown>>,
): Promise<void> {
  try {
    await write();
  } catch (error) {
    const failure = asCniError(error);
    if (failure.kind !== "io") throw failure;
    log.warn(`a record cannot be written: ${failure.msg}`, { ...facts });
  }
}
