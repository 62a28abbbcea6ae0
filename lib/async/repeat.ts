import { delay } from "./wait.ts";

/**
 * Runs `body` again and again, with `ms` milliseconds between the end of one run and the start of the next, until the
 * result is disposed: that fires the signal of a running `body` and waits for its end. `failed` gets the errors of
 * `body`; they do not end the repetition.
 *
 * @example
 * ```ts
 * import { repeat } from "./repeat.ts";
 *
 * await using _ticks = repeat(1_000, () => Promise.resolve(console.log("tick")), console.error);
 * ```
 */
export function repeat(
  ms: number,
  body: (signal: AbortSignal) => Promise<unknown>,
  failed: (error: unknown) => void,
): AsyncDisposable {
  const stop = new AbortController();
  const { signal } = stop;
  const loop = async () => {
    for (;;) {
      await delay(ms, signal);
      await body(signal).catch((error) => {
        if (!signal.aborted) failed(error);
      });
    }
  };
  // The loop ends only by the delay that the signal cuts short.
  const ended = loop().catch((error) => {
    if (!signal.aborted) throw error;
  });
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}
