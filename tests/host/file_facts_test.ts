import { assertEquals } from "@std/assert";
import { factsNow, type FileFacts, type FollowLinks } from "../../lib/host/file_facts.ts";
import { askForLocalDir, isLocalDir } from "../../lib/host/local_dirs.ts";
import { linkTarget, statOwn } from "../../lib/host/stat.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { need } from "../root/need.ts";
import { inTempDir } from "../temp_dir.ts";

const rooted = need("root");
const needed = { ignore: rooted.ignore || !HAS_LIBC };

function seen(path: string, options?: FollowLinks) {
  const { ctimeMs, ...facts } = factsNow(path, options) as FileFacts;
  return { ...facts, ctimeS: Math.floor(ctimeMs / 1_000) };
}

function asDenoSees(info: Deno.FileInfo) {
  return {
    isFile: info.isFile,
    isDirectory: info.isDirectory,
    isSymlink: info.isSymlink,
    mode: info.mode,
    uid: info.uid,
    size: info.size,
    dev: info.dev,
    ino: info.ino,
    mtimeMs: info.mtime?.getTime(),
    // Deno shows whole seconds only.
    ctimeS: Math.floor((info.ctime?.getTime() ?? 0) / 1_000),
  };
}

Deno.test({
  name: "the facts about a file are those that Deno has, whatever it is",
  ...needed,
  fn: () =>
    inTempDir(async (dir) => {
      await Deno.writeTextFile(`${dir}/file`, "text");
      await Deno.chmod(`${dir}/file`, 0o4751);
      await Deno.mkdir(`${dir}/dir`, { mode: 0o1700 });
      await Deno.chown(`${dir}/dir`, 54321, 12345);
      await Deno.utime(`${dir}/dir`, 0.5, 1_234_567_890.987);
      await Deno.symlink("file", `${dir}/link`);
      await Deno.symlink("none", `${dir}/dangling`);
      const { success } = await new Deno.Command("mkfifo", { args: [`${dir}/fifo`] }).output();
      assertEquals(success, true);
      using _socket = Deno.listen({ transport: "unix", path: `${dir}/socket` });
      const paths = ["file", "dir", "link", "dangling", "fifo", "socket", "dir/.", "../."].map((path) =>
        `${dir}/${path}`
      );
      for (const path of [...paths, "/", "/run", "/usr"]) {
        assertEquals(seen(path, { follow: false }), asDenoSees(Deno.lstatSync(path)), path);
        if (!path.endsWith("/dangling")) assertEquals(seen(path), asDenoSees(Deno.statSync(path)), path);
      }
      assertEquals(factsNow(`${dir}/dangling`), undefined);
    }),
});

Deno.test({
  name: "a file that is missing has no facts, and other problems are left to Deno",
  ...needed,
  fn: () =>
    inTempDir(async (dir) => {
      await Deno.writeTextFile(`${dir}/file`, "");
      await Deno.symlink("loop", `${dir}/loop`);
      for (const path of ["none", "none/none", `${"x".repeat(256)}`]) {
        assertEquals(factsNow(`${dir}/${path}`), undefined, path);
      }
      for (const path of ["file/none", "loop", "fi\0le", `${"x/".repeat(4096)}`]) {
        assertEquals(factsNow(`${dir}/${path}`), path.includes("x/") ? undefined : "unknown", path);
      }
      assertEquals(factsNow(`${dir}/loop`, { follow: false }) !== "unknown", true);
      assertEquals(await statOwn(`${dir}/none`), undefined);
      assertEquals(await linkTarget("/run/none"), undefined);
    }),
});

Deno.test({
  name:
    "a directory of this machine is known to be one, and that of the kernel is not, after it was asked for",
  ...needed,
  fn: () =>
    inTempDir(async (dir) => {
      const asked = [dir, `${dir}/none/none`, "/run/podwire-none", "/proc/self", "/sys/none"];
      for (const each of asked) assertEquals(isLocalDir(each), undefined, each);
      await Promise.all(asked.map(askForLocalDir));
      assertEquals(asked.map(isLocalDir), [true, true, true, false, false]);
    }),
});
