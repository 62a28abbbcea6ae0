import { assertEquals } from "@std/assert";
import { unsafeFile } from "../../lib/host/file_safety.ts";
import { ownUser } from "../../lib/host/stat.ts";
import { inTempDir } from "../temp_dir.ts";

const OTHERS = "it can be written by others than its owner";
const FOREIGN = 54321;

/** A file below two directories, and what is at fault, with the directory of the test left out. */
async function inTree(fn: (dir: string, fault: typeof unsafeFile) => Promise<void>): Promise<void> {
  await inTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/a/b`, { recursive: true });
    await Deno.writeTextFile(`${dir}/a/b/file`, "");
    for (const path of ["a", "a/b"]) await Deno.chmod(`${dir}/${path}`, 0o755);
    await Deno.chmod(`${dir}/a/b/file`, 0o755);
    await fn(dir, async (path, options) => {
      const found = await unsafeFile(`${dir}/${path}`, options);
      return found && { ...found, path: found.path.replace(`${dir}/`, "") };
    });
  });
}

Deno.test("a file that its owner alone can write, with all above it, is safe; so is what is not there", () =>
  inTree(async (_, fault) => {
    for (const path of ["a/b/file", "a//./b/file", "a/b", "a/b/none", "none/x"]) {
      assertEquals(await fault(path), undefined, path);
    }
  }));

Deno.test("a file or a directory above it that a group or all can write is unsafe", () =>
  inTree(async (dir, fault) => {
    for (const path of ["a", "a/b", "a/b/file"]) {
      for (const bits of [0o020, 0o002]) {
        await Deno.chmod(`${dir}/${path}`, 0o755 | bits);
        assertEquals(await fault("a/b/file"), { path, why: OTHERS });
      }
      await Deno.chmod(`${dir}/${path}`, 0o755);
    }
  }));

Deno.test("a directory with the sticky bit is no harm to what is in it, but may not be listed", () =>
  inTree(async (dir, fault) => {
    await Deno.chmod(`${dir}/a/b`, 0o1777);
    assertEquals(await fault("a/b/file"), undefined);
    assertEquals(await fault("a/b"), undefined);
    assertEquals(await fault("a/b", { listed: true }), { path: "a/b", why: OTHERS });
    // The bit means nothing on a file.
    await Deno.chmod(`${dir}/a/b/file`, 0o1777);
    assertEquals(await fault("a/b/file"), { path: "a/b/file", why: OTHERS });
  }));

Deno.test("a link is judged by its own directory and by all that its target stands in", () =>
  inTree(async (dir, fault) => {
    await Deno.mkdir(`${dir}/open`);
    await Deno.chmod(`${dir}/open`, 0o777);
    await Deno.writeTextFile(`${dir}/open/file`, "");
    await Deno.symlink("../../open/file", `${dir}/a/b/relative`);
    await Deno.symlink(`${dir}/open`, `${dir}/a/absolute`);
    await Deno.symlink("../a/b/file", `${dir}/open/back`);
    await Deno.symlink("loop", `${dir}/a/loop`);
    await Deno.symlink("b/file", `${dir}/a/good`);
    const open = { path: "open", why: OTHERS };
    assertEquals(await fault("a/b/relative"), open);
    assertEquals(await fault("a/absolute/file"), open);
    assertEquals(await fault("open/back"), open);
    assertEquals(await fault("a/good"), undefined);
    // It leads nowhere, which whoever opens it finds out.
    assertEquals(await fault("a/loop"), undefined);
  }));

Deno.test({
  name: "what another user owns is unsafe, be it a file, a link or a directory",
  ignore: ownUser() !== 0,
  fn: () =>
    inTree(async (dir, fault) => {
      const why = `it is owned by user ${FOREIGN}`;
      for (const path of ["a", "a/b", "a/b/file"]) {
        await Deno.chown(`${dir}/${path}`, FOREIGN, 0);
        assertEquals(await fault("a/b/file"), { path, why });
        await Deno.chown(`${dir}/${path}`, 0, 0);
      }
      await Deno.symlink("file", `${dir}/a/b/link`);
      const chown = new Deno.Command("chown", { args: ["-h", `${FOREIGN}`, `${dir}/a/b/link`] });
      assertEquals((await chown.output()).success, true);
      assertEquals(await fault("a/b/link"), { path: "a/b/link", why });
    }),
});
