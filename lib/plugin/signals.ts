import { CniError } from "../cni/error.ts";
import type { Io } from "../host/io.ts";

/**
 * Runs `body` with a signal that fires at SIGINT, SIGTERM or SIGHUP. A second one ends the process
 * at once, without a clean-up.
 */
export async function withSignals<T>(
  io: Pick<Io, "onSignal">,
  body: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = io.onSignal(["SIGINT", "SIGTERM", "SIGHUP"], (name) => {
    stop();
    controller.abort(new CniError("cancelled", `interrupted by ${name}`));
  });
  try {
    return await body(controller.signal);
  } finally {
    stop();
  }
}
