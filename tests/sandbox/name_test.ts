import { assertEquals, assertThrows } from "@std/assert";
import { validateLabels } from "../../lib/sandbox/label.ts";
import { validateUid } from "../../lib/sandbox/name.ts";
import { CniError } from "../../lib/spec/error.ts";

Deno.test("a UID or label that would not stay on its line, or shows other than it is, is refused", () => {
  validateUid("8d0d33a6-1f6b-4c1e-9d0a-1f2e3d4c5b6a");
  validateUid("0123456789abcdef");
  for (const char of ["\n", "\r", "\t", " ", "\x1b", "\u0085", "\u2028", "\u202e", "\u200b", "\ud800"]) {
    assertEquals(assertThrows(() => validateUid(`a${char}b`), CniError).kind, "usage");
    assertEquals(assertThrows(() => validateLabels({ [`a${char}b`]: "" }), CniError).kind, "usage");
    if (char === " ") continue;
    assertEquals(assertThrows(() => validateLabels({ a: `a${char}b` }), CniError).kind, "usage");
  }
  assertThrows(() => validateUid("x".repeat(254)), CniError);
});
