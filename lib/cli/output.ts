import { CniError, ERROR_CODES } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { withSignals } from "../plugin/signals.ts";
import type { CommandInput } from "./command.ts";

/** Something that was made, and that the caller knows only from the result. */
export interface Made {
  /** Its name, such as `the sandbox "web"`. */
  readonly what: string;
  /** The command that removes it. */
  readonly hint: string;
  /** Removes it. @default {undefined} (it stays, and the error says so) */
  readonly undo?: ((signal: AbortSignal) => Promise<void>) | undefined;
}

/**
 * Writes the result of making something. If it cannot be written, for example on a full disk, the caller would not know
 * what to remove. Then it is removed here, and the call fails as a whole.
 *
 * @throws {CniError} kind `io`, saying whether it was removed
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
