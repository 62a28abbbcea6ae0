/**
 * What a terminal acts on or does not show: control characters, marks of the direction of writing and of no width, ends
 * of lines and paragraphs, tags, and halves of a pair that is none.
 */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * For text that may quote a plugin, a pod or a file: no line ends, nothing that moves the cursor, colours the terminal,
 * or lets what is shown differ from what is there.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { oneLine } from "./terminal_text.ts";
 *
 * assertEquals(oneLine("a\nb\x1b[2J\u202ec"), "a\\nb\\x1b[2J\\u{202e}c");
 * ```
 */
export function oneLine(text: string): string {
  return text.replace(UNSHOWN, (char) => {
    if (char === "\t") return char;
    if (char === "\n") return "\\n";
    const code = (char.codePointAt(0) ?? 0).toString(16);
    return code.length > 2 ? `\\u{${code}}` : `\\x${code.padStart(2, "0")}`;
  });
}

/** Longer than every name that is one, and than most paths. */
const LONGEST_WORD = 300;
const LONG_WORD = new RegExp(`\\S{${LONGEST_WORD + 1},}`, "gu");

/** The text with the middle of each endless word left out, so that a reader finds what stands around it. */
export function withoutLongWords(text: string): string {
  return text.replace(LONG_WORD, (word) => {
    const characters = [...word];
    const [first, last] = [characters.slice(0, 80), characters.slice(-20)];
    return `${first.join("")}...(${characters.length - 100} characters more)...${last.join("")}`;
  });
}

/**
 * The same JSON, or other text, in which nothing stands that a terminal acts on but line ends and tabs. A JSON text says
 * the same as before, since such characters can only stand in its strings.
 */
export function escapedInJson(text: string): string {
  return text.replace(UNSHOWN, (char) => {
    if (char === "\t" || char === "\n") return char;
    const units = Array.from({ length: char.length }, (_, index) => char.charCodeAt(index));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}
