import { assert, assertEquals, assertRejects } from "@std/assert";
import { appendTo } from "../../lib/host/append.ts";
import { statOwn } from "../../lib/host/stat.ts";
import { sh } from "../root/binary_world.ts";
import { need } from "../root/need.ts";
import { fill, withDisk } from "../root/small_disk.ts";
import { inTempDir } from "../temp_dir.ts";
import { Syncs } from "../syncs.ts";

const headOf = (size: number) => `size ${String(size).padStart(6, "0")}\n`;
const HEAD = headOf(0).length;

/** A sound file with this text. */
async function make(path: string, text: string): Promise<string> {
  await Deno.writeTextFile(path, `${headOf(HEAD + text.length)}${text}`);
  return path;
}

Deno.test("an appended text follows what was there, and the first bytes have the new length", () =>
  inTempDir(async (dir) => {
    const path = await make(`${dir}/a`, "one\n");
    for (const durable of [false, true]) {
      const before = (await Deno.stat(path)).ino;
      const was = await statOwn(path);
      const appended = await appendTo(path, "tüo\n", { headOf, durable });
      const { size, ino } = await Deno.stat(path);
      assertEquals({ appended, ino }, { appended: { became: "longer", size, was }, ino: before });
    }
    const { size } = await Deno.stat(path);
    assertEquals(await Deno.readTextFile(path), `${headOf(size)}one\ntüo\ntüo\n`);
  }));

Deno.test("a text begins a line, also after a part of one that a killed process left", () =>
  inTempDir(async (dir) => {
    const path = await make(`${dir}/a`, "one\n");
    // The length was not yet written.
    await Deno.writeTextFile(path, "tw", { append: true });
    await appendTo(path, "three\n", { headOf });
    const { size } = await Deno.stat(path);
    assertEquals(await Deno.readTextFile(path), `${headOf(size)}one\ntw\nthree\n`);
  }));

Deno.test("nothing is appended where there is no sound file", () =>
  inTempDir(async (dir) => {
    assertEquals(await appendTo(`${dir}/none`, "x\n", { headOf }), { became: "absent" });
    assertEquals(await appendTo(dir, "x\n", { headOf }), { became: "absent" });
    assertEquals(await appendTo(`${dir}/none/x`, "x\n", { headOf }), { became: "absent" });
    const whole = `${headOf(HEAD + 8)}one\ntwo\n`;
    for (const text of ["", "one\n", whole.slice(0, -1), whole.replace("0", "x"), "\0".repeat(40)]) {
      await Deno.writeTextFile(`${dir}/a`, text);
      assertEquals(await appendTo(`${dir}/a`, "x\n", { headOf }), { became: "unsound" }, text);
      assertEquals(await Deno.readTextFile(`${dir}/a`), text);
    }
  }));

Deno.test({
  name: "a FIFO in the place of the file makes nothing wait",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inTempDir(async (dir) => {
      await sh(`mkfifo ${dir}/fifo`);
      assertEquals(await appendTo(`${dir}/fifo`, "x\n", { headOf }), { became: "absent" });
    }),
});

Deno.test("an append waits for the disk only if it has to", () =>
  inTempDir(async (dir) => {
    const path = await make(`${dir}/a`, "one\n");
    using syncs = new Syncs();
    await appendTo(path, "two\n", { headOf });
    assertEquals(syncs.take(), 0);
    await appendTo(path, "two\n", { headOf, durable: true });
    assertEquals(syncs.take(), 1);
  }));

Deno.test({
  name: "a file on a full disk stays as it was, and the error names it",
  ...need("root"),
  fn: () =>
    inTempDir((dir) =>
      withDisk(`${dir}/disk`, async () => {
        const path = await make(`${dir}/disk/a`, "one\n");
        const before = await Deno.readTextFile(path);
        await fill(`${dir}/disk`);
        const error = await assertRejects(() => appendTo(path, `${"x".repeat(100_000)}\n`, { headOf }));
        assert(error instanceof Error && error.message.includes(path), String(error));
        assertEquals(await Deno.readTextFile(path), before);
      })
    ),
});
