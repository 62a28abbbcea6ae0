import { asCniError } from "../errors/to_cni_error.ts";
import { withSignals } from "../plugin/signals.ts";
import type { CommandInput } from "./command.ts";
import { logger } from "./settings.ts";

/**
 * Does something for each operand. Continues after a failure, as every tear-down does: the last failure is thrown, and those
 * before it are logged. Returns the exit code.
 */
export async function forEachOperand(
  input: CommandInput,
  body: (operand: string, signal: AbortSignal) => Promise<void>,
): Promise<number> {
  return await withSignals(input.io, async (signal) => {
    const failures: unknown[] = [];
    for (const operand of input.operands) {
      signal.throwIfAborted();
      await body(operand, signal).catch((error) => failures.push(error));
    }
    const last = failures.pop();
    if (last === undefined) return 0;
    for (const failure of failures) logger(input).error(asCniError(failure).message);
    throw last;
  });
}
