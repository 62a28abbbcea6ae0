import { withSignals } from "../plugin/signals.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { CommandInput } from "./command.ts";

/** Something that was made, which only its result tells of. */
export interface Made {
  /** Such as `the sandbox "web"`. */
  readonly what: string;
  /** How it is removed by hand. */
  readonly hint: string;
  /** Removes it. @default {undefined} (it stays, and the error says so) */
  readonly undo?: ((signal: AbortSignal) => Promise<void>) | undefined;
}

/**
 * Writes the result of making something. Where that cannot be written, as on a full disk, nobody would know what there
 * is to remove: then it is removed here, and the call has failed as a whole.
 *
 * @throws {CniError} kind `io`, saying what became of it
 */
export async function writeOrUndo(
  { io }: Pick<CommandInput, "io">,
  write: () => void,
  { what, hint, undo }: Made,
): Promise<void> {
  try {
    return write();
  } catch (cause) {
    const { msg } = asCniError(cause);
    const code = ERROR_CODES.ioFailure;
    if (undo === undefined) throw new CniError("io", msg, { code, details: `${what} is up`, hint, cause });
    try {
      await withSignals(io, undo);
    } catch (left) {
      const details = `${what} could not be removed: ${asCniError(left).message}`;
      throw new CniError("io", msg, { code, details, hint, cause });
    }
    throw new CniError("io", msg, { code, details: `${what} was removed again`, cause });
  }
}
