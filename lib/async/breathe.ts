import { yieldToLoop } from "./yield_to_loop.ts";

/** So many steps take a few milliseconds. */
const STEPS = 64;
/** A turn of the event loop costs a millisecond or two, so there is none before the steps have taken many times that. */
const TURN_MS = 20;

let steps = 0;
let lastTurn = -Infinity;
let turn: Promise<void> | undefined;

/**
 * Waits now and then until other work of the process has run; call it before each of many short steps, such as reading a
 * small file, that would hold the event loop one after another. All callers wait for the same turn.
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
  const due = turnIfDue();
  if (due !== undefined) await due;
}

/** Same as {@linkcode breathe} for a loop of steps that need no promise: returns what to wait for, nearly always nothing. */
export function turnIfDue(): Promise<void> | undefined {
  if (turn !== undefined || ++steps % STEPS !== 0) return turn;
  if (performance.now() - lastTurn < TURN_MS) return undefined;
  return turn = yieldToLoop().then(() => {
    lastTurn = performance.now();
    turn = undefined;
  });
}
