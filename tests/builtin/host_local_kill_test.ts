// `kill -9` before each step of the built-in host-local that changes a file.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { inTempDir } from "../temp_dir.ts";
import { Addresses } from "./addresses.ts";

const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));
const PROGRAM = fromFileUrl(new URL("killed_plugin.ts", import.meta.url));

/** Returns whether the process was killed, not done before. */
async function isKilled(dir: string, number: number, verb: "ADD" | "DEL"): Promise<boolean> {
  const args = ["run", "-q", "--no-prompt", "-P=test", PROGRAM, dir, String(number), verb];
  const { success, signal, stderr } = await new Deno.Command(DENOW, { args }).output();
  assert(success || signal === "SIGKILL", new TextDecoder().decode(stderr));
  return !success;
}

Deno.test("an ADD that is killed at any step leaves an address free or held as a whole, and its DEL removes all of it", async () => {
  let kills = 0;
  for (let isEnded = false; !isEnded; kills++) {
    await inTempDir(async (dir) => {
      const addresses = new Addresses(dir);
      await addresses.add("other");
      isEnded = !await isKilled(dir, kills + 1, "ADD");
      const left = addresses.reserved();
      const isHeld = left["10.1.2.3"] !== undefined;
      assertEquals(
        left,
        { "10.1.2.2": "other\r\neth0", ...(isHeld ? { "10.1.2.3": "a\r\neth0" } : {}) },
        `step ${kills}`,
      );
      assertEquals(await addresses.add("next"), isHeld ? "10.1.2.4" : "10.1.2.3");
      await addresses.done("DEL", "a");
      assertEquals(Object.values(addresses.reserved()), ["other\r\neth0", "next\r\neth0"]);
      assertEquals(addresses.links().length, 2, `step ${kills}`);
    });
  }
  assert(kills > 6, `${kills} steps`);
});

Deno.test("a DEL that is killed at any step can be repeated", async () => {
  let kills = 0;
  for (let isEnded = false; !isEnded; kills++) {
    await inTempDir(async (dir) => {
      const addresses = new Addresses(dir);
      for (const id of ["a", "other"]) await addresses.add(id);
      isEnded = !await isKilled(dir, kills + 1, "DEL");
      await addresses.done("DEL", "a");
      assertEquals(addresses.reserved(), { "10.1.2.3": "other\r\neth0" }, `step ${kills}`);
      assertEquals(addresses.links(), ["other@eth0@10.1.2.3"], `step ${kills}`);
      assertEquals(await addresses.add("a"), "10.1.2.4");
    });
  }
  assert(kills > 3, `${kills} steps`);
});
