import { isArray, isObject, type Json, type JsonObject, printJson } from "./json.ts";
import { atLeast, isSpecVersion } from "./version.ts";

/**
 * Prints JSON as libcni prints maps: keys in byte order at every level, and the special characters of HTML as escapes.
 * The text of numbers stays as it is, although libcni rounds it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { printSorted } from "./libcni_text.ts";
 *
 * assertEquals(printSorted({ mac: "a&b", dns: {} }), '{"dns":{},"mac":"a\\u0026b"}');
 * ```
 */
export function printSorted(json: Json, indent = 0): string {
  return sorted(json, indent === 0 ? "" : "\n", " ".repeat(indent));
}

/** Returns the object with its keys in the order of {@linkcode printSorted}, at every level. */
export function sortKeys(json: JsonObject): JsonObject {
  const copy = (value: Json): Json => {
    if (isArray(value)) return value.map(copy);
    return isObject(value) ? sortKeys(value) : value;
  };
  return Object.fromEntries(sortedMembers(json).map(([key, value]) => [key, copy(value)]));
}

function sortedMembers(json: JsonObject): [string, Json][] {
  return Object.entries(json).sort(([a], [b]) => compareBytes(a, b));
}

/**
 * Prints a result, byte for byte as libcni and cnitool do: with four blanks, from 1.0.0 on with sorted keys, before
 * that in the order of the specification.
 */
export function printResult(result: JsonObject): string {
  const version = String(result.cniVersion);
  const isSorted = isSpecVersion(version) && atLeast(version, "1.0.0");
  return isSorted ? printSorted(result, 4) : escapeHtml(printJson(result, 4));
}

function sorted(json: Json, newline: string, step: string): string {
  const inner = newline === "" ? "" : newline + step;
  const list = (open: string, parts: readonly string[], close: string) =>
    parts.length === 0 ? open + close : `${open}${inner}${parts.join(`,${inner}`)}${newline}${close}`;
  if (isArray(json)) return list("[", json.map((element) => sorted(element, inner, step)), "]");
  if (!isObject(json)) return escapeHtml(printJson(json));
  const colon = newline === "" ? ":" : ": ";
  const members = sortedMembers(json).map(([key, value]) =>
    `${escapeHtml(printJson(key))}${colon}${sorted(value, inner, step)}`
  );
  return list("{", members, "}");
}

/** In JSON these characters occur in strings only. */
function escapeHtml(text: string): string {
  return text.replace(
    /[<>&\u2028\u2029]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Orders by UTF-8 bytes. That is the order of code points, which can differ from that of UTF-16. */
function compareBytes(a: string, b: string): number {
  const [left, right] = [[...a], [...b]];
  const index = left.findIndex((letter, at) => letter !== right[at]);
  if (index === -1) return left.length - right.length;
  return (left[index]?.codePointAt(0) ?? -1) - (right[index]?.codePointAt(0) ?? -1);
}
