import { assertEquals, assertRejects } from "@std/assert";
import { copyFile, removeTree } from "../../lib/host/tree.ts";

Deno.test("a copy has exactly the requested mode, and a tree is removed completely, any number of times", async () => {
  const dir = await Deno.makeTempDir({ prefix: "podwire-tree-" });
  try {
    await Deno.mkdir(`${dir}/a/b`, { recursive: true });
    await Deno.writeTextFile(`${dir}/a/from`, "text", { mode: 0o600 });
    await copyFile(`${dir}/a/from`, `${dir}/a/b/to`, 0o555);
    assertEquals(await Deno.readTextFile(`${dir}/a/b/to`), "text");
    assertEquals(((await Deno.stat(`${dir}/a/b/to`)).mode ?? 0) & 0o777, 0o555);
    await removeTree(`${dir}/a`);
    await removeTree(`${dir}/a`);
    await assertRejects(() => Deno.stat(`${dir}/a`), Deno.errors.NotFound);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
