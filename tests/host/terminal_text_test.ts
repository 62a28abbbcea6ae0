import { assert, assertEquals } from "@std/assert";
import { escapedInJson, oneLine } from "../../lib/host/terminal_text.ts";

/** One character of each kind that a terminal acts on, or does not show. */
const HOSTILE = [
  "\x00",
  "\x1b[2J",
  "\x7f",
  "\u0085",
  "\u009b31m",
  "\u00ad",
  "\u061c",
  "\u200b",
  "\u200d",
  "\u200e",
  "\u200f",
  "\u2028",
  "\u2029",
  "\u202a",
  "\u202e",
  "\u2060",
  "\u2066",
  "\u2069",
  "\ufeff",
  "\u{e0041}",
  "\ud800",
];
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

Deno.test("oneLine() escapes everything that a terminal acts on or hides, and keeps the rest", () => {
  for (const text of HOSTILE) {
    const shown = oneLine(`a${text}b`);
    assert(!UNSHOWN.test(shown), JSON.stringify(shown));
    assert(shown.startsWith("a\\") && shown.endsWith("b"), shown);
  }
  assertEquals(oneLine("é 日本 🙂 עברית\tx"), "é 日本 🙂 עברית\tx");
  assertEquals(oneLine("a\nb\x1b\u202e"), "a\\nb\\x1b\\u{202e}");
});

Deno.test("JSON has the same meaning after its escaping for a terminal", () => {
  const value = { [HOSTILE.join("")]: HOSTILE, plain: "é 🙂\n" };
  const json = `${JSON.stringify(value, null, 2)}\n`;
  const escaped = escapedInJson(json);
  assertEquals(JSON.parse(escaped), value);
  assert(!UNSHOWN.test(escaped.replaceAll("\n", "")), escaped);
});
