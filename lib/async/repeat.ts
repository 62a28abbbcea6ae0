import { delay } from "./wait.ts";

/**
 * Runs `body` again and again, with `ms` milliseconds between the end of one and the start of the next, until
 * disposed of: that fires the signal of a `body` under way and waits for its end. What `body` throws goes to `failed`
 * and does not end the repetition.
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
  // Its only way to end is the pause that the signal cuts short.
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
