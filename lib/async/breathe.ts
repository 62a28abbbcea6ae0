import { yieldToLoop } from "./yield_to_loop.ts";

/** So many steps take a few milliseconds. */
const STEPS_IN_A_TURN = 64;

let steps = 0;

/**
 * Waits now and then until other work of the process has run; call it before each of many short steps, such as reading a
 * small file, that would hold the event loop one after another.
 *
 * @example
 * ```ts
 * import { breathe } from "./breathe.ts";
 *
 * for (const text of ["[1]", "[2]"]) {
 *   await breathe();
 *   console.log(JSON.parse(text));
 * }
 * ```
 */
export async function breathe(): Promise<void> {
  if (++steps % STEPS_IN_A_TURN === 0) await yieldToLoop();
}
