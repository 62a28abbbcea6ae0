let last: Promise<void> = Promise.resolve();

/**
 * Resolves in a turn of the event loop that no other caller gets: long synchronous work of several callers runs one
 * after another, and other work of the process runs in between. It costs a millisecond, so use it for large work only.
 *
 * @example
 * ```ts
 * import { yieldToLoop } from "./yield_to_loop.ts";
 *
 * for (const text of ["[1]", "[2]"]) {
 *   await yieldToLoop();
 *   console.log(JSON.parse(text));
 * }
 * ```
 */
export async function yieldToLoop(): Promise<void> {
  last = last.then(() => new Promise((resolve) => setTimeout(resolve)));
  await last;
}
