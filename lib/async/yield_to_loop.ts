let last: Promise<void> = Promise.resolve();

/**
 * Resolves in a turn of the event loop that no other caller has: what takes long without waiting is done one after
 * another, and whatever else waits comes in between. It costs a millisecond, so it is for large things only.
 *
 * @example
 * ```ts
 * import { turn } from "./yield_to_loop.ts";
 *
 * for (const text of ["[1]", "[2]"]) {
 *   await turn();
 *   console.log(JSON.parse(text));
 * }
 * ```
 */
export async function yieldToLoop(): Promise<void> {
  last = last.then(() => new Promise((resolve) => setTimeout(resolve)));
  await last;
}
