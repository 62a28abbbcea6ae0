import { assertEquals } from "@std/assert";
import { sha256 } from "../../lib/host/sha256.ts";

Deno.test("a digest is the same, whichever of the two functions makes it", async () => {
  // More than those that the web platform makes.
  const made = await Promise.all(Array.from({ length: 200 }, () => sha256("abc")));
  // Source: FIPS 180-2, appendix B.1.
  assertEquals([...new Set(made)], ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]);
  assertEquals(await sha256("ü"), "607474ca475a9724d7360aba71a56d5df77e61350e3f724cfa1f46e857e2d85f");
});
