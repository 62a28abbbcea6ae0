import { asCniError } from "../errors/to_cni_error.ts";
import type { Logger } from "../host/log.ts";

/**
 * Writes the progress of a removal. A full or read-only disk must not prevent the removal, so that failure is only logged:
 * the record stays as it was, and a later call or recovery repeats the removal.
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
