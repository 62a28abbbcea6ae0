import { assertEquals } from "@std/assert";
import { unsafeFile } from "../../lib/host/file_safety.ts";
import { ownUser } from "../../lib/host/stat.ts";
import { inTempDir } from "../temp_dir.ts";

const OTHERS = "it can be written by others than its owner";
const FOREIGN = 54321;

/** Makes a file below two directories, and finds the unsafe path, without the directory of the test. */
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

Deno.test("a file is safe if only its owner can write it and the directories above it, and so is a missing one", () =>
  inTree(async (_, fault) => {
    for (const path of ["a/b/file", "a//./b/file", "a/b", "a/b/none", "none/x"]) {
      assertEquals(await fault(path), undefined, path);
    }
  }));

Deno.test("a file is unsafe if a group or all can write it or a directory above it", () =>
  inTree(async (dir, fault) => {
    for (const path of ["a", "a/b", "a/b/file"]) {
      for (const bits of [0o020, 0o002]) {
        await Deno.chmod(`${dir}/${path}`, 0o755 | bits);
        assertEquals(await fault("a/b/file"), { path, why: OTHERS });
      }
      await Deno.chmod(`${dir}/${path}`, 0o755);
    }
  }));

Deno.test("a directory with the sticky bit is safe for the files in it, but must not be listed", () =>
  inTree(async (dir, fault) => {
    await Deno.chmod(`${dir}/a/b`, 0o1777);
    assertEquals(await fault("a/b/file"), undefined);
    assertEquals(await fault("a/b"), undefined);
    assertEquals(await fault("a/b", { listed: true }), { path: "a/b", why: OTHERS });
    // The bit has no meaning on a file.
    await Deno.chmod(`${dir}/a/b/file`, 0o1777);
    assertEquals(await fault("a/b/file"), { path: "a/b/file", why: OTHERS });
  }));

Deno.test("the safety of a link depends on its own directory, and on all directories of its target", () =>
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
    // It leads nowhere; an attempt to open it shows that.
    assertEquals(await fault("a/loop"), undefined);
  }));

Deno.test({
  name: "a file, link or directory of another user is unsafe",
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
