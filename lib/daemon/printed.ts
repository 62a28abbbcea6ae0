import { yieldToLoop } from "../async/yield_to_loop.ts";

/** Characters that are printed before other work gets its turn: a few milliseconds. */
const AT_ONCE = 1024 * 1024;
/** Characters of a piece. A text that grows for longer outlives collections of garbage, and takes its memory for long. */
const PIECE = 64 * 1024;

/** Bytes in pieces: put together, those of a long list would take their memory twice. */
export type Pieces = readonly Uint8Array<ArrayBuffer>[];

/**
 * Returns JSON as UTF-8, with a line end for terminals. The elements of a long list are printed one by one: printing
 * all at once would block all other requests.
 */
export async function printed(json: unknown): Promise<Pieces> {
  if (!Array.isArray(json)) return [new TextEncoder().encode(`${JSON.stringify(json)}\n`)];
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let piece = "[";
  let unbroken = 0;
  for (const [index, element] of json.entries()) {
    // In a list, a value without JSON is null.
    piece += `${index === 0 ? "" : ","}${JSON.stringify(element) ?? "null"}`;
    if (piece.length < PIECE) continue;
    pieces.push(new TextEncoder().encode(piece));
    unbroken += piece.length;
    piece = "";
    if (unbroken < AT_ONCE) continue;
    unbroken = 0;
    await yieldToLoop();
  }
  pieces.push(new TextEncoder().encode(`${piece}]\n`));
  return pieces;
}
