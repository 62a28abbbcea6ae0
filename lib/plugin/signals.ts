import { CniError } from "../cni/error.ts";
import type { Io } from "../host/io.ts";

/**
 * A signal that fires at SIGINT, SIGTERM or SIGHUP until the end of the block: `using interruption = new Interruption(io)`.
 * A second one ends the process at once, without a clean-up.
 */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #stop: () => void;

  constructor(io: Pick<Io, "onSignal">) {
    const stop = io.onSignal(["SIGINT", "SIGTERM", "SIGHUP"], (name) => {
      stop();
      this.#controller.abort(new CniError("cancelled", `interrupted by ${name}`));
    });
    this.#stop = stop;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}

/** Runs `body` with the signal of an {@linkcode Interruption}. */
export async function withSignals<T>(
  io: Pick<Io, "onSignal">,
  body: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  using interruption = new Interruption(io);
  return await body(interruption.signal);
}
