/**
 * Characters that a terminal acts on or does not show: control characters, marks of the writing direction and of no width,
 * ends of lines and paragraphs, tags, and surrogates without their other half.
 */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * Escapes text that may quote a plugin, a pod or a file. The result has no line ends, and nothing that moves the cursor,
 * colours the terminal, or makes the text look different from what it is.
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

/** Longer than every valid name, and than most paths. */
const LONGEST_WORD = 300;
const LONG_WORD = new RegExp(`\\S{${LONGEST_WORD + 1},}`, "gu");

/** Leaves out the middle of each very long word, so that a reader finds the text around it. */
export function withoutLongWords(text: string): string {
  return text.replace(LONG_WORD, (word) => {
    const characters = [...word];
    const [first, last] = [characters.slice(0, 80), characters.slice(-20)];
    return `${first.join("")}...(${characters.length - 100} characters more)...${last.join("")}`;
  });
}

/**
 * Escapes everything in JSON, or in other text, that a terminal acts on, except line ends and tabs. The meaning of JSON does
 * not change, because such characters can only be in its strings.
 */
export function escapedInJson(text: string): string {
  return text.replace(UNSHOWN, (char) => {
    if (char === "\t" || char === "\n") return char;
    const units = Array.from({ length: char.length }, (_, index) => char.charCodeAt(index));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}
