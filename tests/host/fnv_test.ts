import { assertEquals } from "@std/assert";
import { fnv1a } from "../../lib/host/fnv.ts";

Deno.test("fnv1a() returns the published values of FNV-1a", () => {
  const hashes = (text: string) => ({
    32: fnv1a(text, 32).toString(16),
    64: fnv1a(text, 64).toString(16),
  });
  assertEquals(hashes(""), { 32: "811c9dc5", 64: "cbf29ce484222325" });
  assertEquals(hashes("a"), { 32: "e40c292c", 64: "af63dc4c8601ec8c" });
  assertEquals(hashes("foobar"), { 32: "bf9cf968", 64: "85944171f73967e8" });
});
