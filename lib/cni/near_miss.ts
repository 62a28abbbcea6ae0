/** A longer word is not a mistyped one, and would take long to compare. */
const LONGEST = 64;

/**
 * Returns the word of a list that someone may have meant who wrote `text`: the nearest one, if few letters differ. Upper and
 * lower case, hyphens and underscores count as typing mistakes of less than a letter.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { nearMiss } from "./near_miss.ts";
 *
 * assertEquals(nearMiss("isGatway", ["bridge", "isGateway"]), "isGateway");
 * assertEquals(nearMiss("mtu", ["bridge", "isGateway"]), undefined);
 * ```
 */
export function nearMiss(text: string, words: Iterable<string>): string | undefined {
  if (text === "" || text.length > LONGEST) return undefined;
  const plain = plainOf(text);
  let best: { readonly word: string; readonly distance: number } | undefined;
  for (const word of words) {
    if (word === text || word.length > LONGEST) continue;
    const distance = distanceOf(plain, plainOf(word));
    if (distance > mostFor(plain, plainOf(word)) || distance >= (best?.distance ?? Infinity)) continue;
    best = { word, distance };
  }
  return best?.word;
}

/** Returns the hint "did you mean ...?" for a word of a list; undefined if none is near. */
export function didYouMean(text: string, words: Iterable<string>, prefix = ""): string | undefined {
  const near = nearMiss(text, words);
  return near === undefined ? undefined : `did you mean "${prefix}${near}"?`;
}

function plainOf(text: string): string {
  return text.toLowerCase().replaceAll(/[-_]/g, "");
}

/** In a short word each letter counts for more. */
function mostFor(one: string, other: string): number {
  const length = Math.max(one.length, other.length);
  return length <= 3 ? Math.min(1, length - 2) : length <= 6 ? 1 : length <= 10 ? 2 : 3;
}

/** How many letters are missing, too many, other ones, or swapped with the next one. */
function distanceOf(one: string, other: string): number {
  let before: number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const cost = one[i - 1] === other[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      next.push(Math.min(
        (row[j] ?? Infinity) + 1,
        (next[j - 1] ?? Infinity) + 1,
        (row[j - 1] ?? Infinity) + cost,
        swapped ? (before[j - 2] ?? Infinity) + 1 : Infinity,
      ));
    }
    before = row;
    row = next;
  }
  return row[other.length] ?? Infinity;
}
