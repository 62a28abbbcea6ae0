import { assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { validateAnnotations, validateLabels } from "../../lib/sandbox/validate_labels.ts";
import { validateUid } from "../../lib/sandbox/validate_name.ts";

Deno.test("a UID or label with a line break, a space or an invisible character is refused", () => {
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

Deno.test("an annotation may have several lines, as kubectl writes them, but no other invisible character", () => {
  validateAnnotations({
    "kubectl.kubernetes.io/last-applied-configuration": '{\n\t"kind": "Pod"}\r\n',
    empty: "",
  });
  for (const char of ["\x1b", "\0", "\u0085", "\u2028", "\u202e", "\ud800"]) {
    assertEquals(assertThrows(() => validateAnnotations({ a: `b${char}` }), CniError).kind, "usage");
    assertThrows(() => validateAnnotations({ [`a${char}`]: "" }), CniError);
  }
  for (const key of ["", "a b", "a\nb"]) assertThrows(() => validateAnnotations({ [key]: "" }), CniError);
});
