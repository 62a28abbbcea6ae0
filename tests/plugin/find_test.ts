import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { askForLocalDir } from "../../lib/host/local_dirs.ts";
import { findPlugin, findPluginNow, pluginMissing, searchPath } from "../../lib/plugin/find.ts";
import { HAS_LIBC } from "../open_libc.ts";

/** Two directories with the files of a test. */
async function inDirs(fn: (a: string, b: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "podwire-find-" });
  try {
    for (const name of ["a", "b"]) await Deno.mkdir(`${root}/${name}`);
    await fn(`${root}/a`, `${root}/b`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function write(path: string, mode: number): Promise<void> {
  await Deno.writeTextFile(path, "#!/bin/sh\n");
  await Deno.chmod(path, mode);
}

Deno.test("B1 the first directory with the plugin wins", () =>
  inDirs(async (a, b) => {
    await write(`${b}/net`, 0o755);
    assertEquals((await findPlugin("net", [a, b])).path, `${b}/net`);
    await write(`${a}/net`, 0o755);
    assertEquals((await findPlugin("net", [a, b])).path, `${a}/net`);
    assertEquals((await findPlugin("net", [`${b}/`, a])).path, `${b}/net`);
  }));

Deno.test("B2 B4 B5 a type that is empty or a path is refused before any search", async () => {
  assertEquals((await assertRejects(() => findPlugin("", []), CniError)).msg, "no plugin name provided");
  for (const type of ["../sh", "/bin/sh", "a/b", ".", ".."]) {
    const error = await assertRejects(() => findPlugin(type, ["/bin"]), CniError);
    assertEquals({ kind: error.kind, msg: error.msg }, {
      kind: "config",
      msg: `invalid plugin name: ${type}`,
    });
  }
});

Deno.test("B7 links to files count, directories, sockets and dangling links do not", () =>
  inDirs(async (a, b) => {
    await write(`${b}/real`, 0o755);
    await Deno.symlink(`${b}/real`, `${a}/link`);
    await Deno.symlink(`${b}/nothing`, `${a}/dangling`);
    await Deno.symlink("loop", `${a}/loop`);
    await Deno.mkdir(`${a}/folder`);
    using _socket = Deno.listen({ transport: "unix", path: `${a}/socket` });
    assertEquals((await findPlugin("link", [a])).path, `${a}/link`);
    for (const type of ["dangling", "loop", "folder", "socket"]) {
      assertEquals(await findPlugin(type, [a]), { path: undefined, notExecutable: [] }, type);
    }
  }));

Deno.test("B8 a file that cannot be executed does not hide one that can", () =>
  inDirs(async (a, b) => {
    await write(`${a}/net`, 0o644);
    await write(`${b}/net`, 0o755);
    assertEquals(await findPlugin("net", [a, b]), { path: `${b}/net`, notExecutable: [`${a}/net`] });
    await write(`${b}/net`, 0o600);
    const found = await findPlugin("net", [a, b]);
    assertEquals(found, { path: undefined, notExecutable: [`${a}/net`, `${b}/net`] });
    const error = pluginMissing("net", [a, b], found);
    assertEquals({ kind: error.kind, msg: error.msg, hint: error.context.hint }, {
      kind: "plugin-missing",
      msg: `${a}/net is not executable`,
      hint: `chmod +x ${a}/net`,
    });
  }));

Deno.test("B9 the error of a missing plugin names all the directories that were searched", () => {
  const error = pluginMissing("net", ["/a", "/b"], { path: undefined, notExecutable: [] });
  assertEquals(error.kind, "plugin-missing");
  assertEquals(error.msg, 'failed to find plugin "net" in path [/a /b /opt/net/bin]');
});

Deno.test("B10 an empty entry is not the working directory", async () => {
  // Tests run in the repository, where this file could be executed.
  assertEquals((await Deno.stat("denow")).isFile, true);
  assertEquals((await findPlugin("denow", ["", "/nowhere"])).path, undefined);
  assertEquals((await findPlugin("denow", ["."])).path, "./denow");
});

Deno.test("one bad entry does not hide the directories after it", () =>
  inDirs(async (a, b) => {
    await write(`${b}/net`, 0o755);
    await Deno.writeTextFile(`${a}/file`, "");
    await Deno.symlink("loop", `${a}/loop`);
    const dirs = [`${a}/absent`, `${a}/file`, `${a}/loop`, `${a}/${"x".repeat(300)}`, b];
    assertEquals((await findPlugin("net", dirs)).path, `${b}/net`);
  }));

Deno.test("F126 the vendor directory is searched last, and once", () => {
  assertEquals(searchPath("net", ["/a"]), ["/a", "/opt/net/bin"]);
  assertEquals(searchPath("net", []), ["/opt/net/bin"]);
  assertEquals(searchPath("net", ["/opt/net/bin", "/a"]), ["/opt/net/bin", "/a"]);
});

Deno.test("B3 without any directory the vendor directory is still searched, and named", async () => {
  assertEquals(await findPlugin("no-such-net", []), { path: undefined, notExecutable: [] });
  const error = pluginMissing("no-such-net", [], { path: undefined, notExecutable: [] });
  assertEquals(error.msg, 'failed to find plugin "no-such-net" in path [/opt/no-such-net/bin]');
});

Deno.test("B6 the name of the file is the type, without a suffix", () =>
  inDirs(async (a) => {
    await write(`${a}/net.exe`, 0o755);
    await write(`${a}/NET`, 0o755);
    assertEquals((await findPlugin("net", [a])).path, undefined);
    assertEquals((await findPlugin("net.exe", [a])).path, `${a}/net.exe`);
  }));

Deno.test({
  name: "a plugin that is found at once is the one that a search finds",
  ignore: !HAS_LIBC,
  fn: () =>
    inDirs(async (a, b) => {
      const dirs = [a, b];
      const kinds = ["none", "file", "plain", "unsafe", "dir", "link", "dangling"] as const;
      const put = async (path: string, kind: typeof kinds[number]) => {
        if (kind === "file") await write(path, 0o755);
        if (kind === "plain") await write(path, 0o644);
        if (kind === "unsafe") await write(path, 0o757);
        if (kind === "dir") await Deno.mkdir(path);
        if (kind === "link") await Deno.symlink("/bin/sh", path);
        if (kind === "dangling") await Deno.symlink("none", path);
      };
      await Promise.all(dirs.map(askForLocalDir));
      const found: string[] = [];
      for (const first of kinds) {
        for (const second of kinds) {
          await put(`${a}/net`, first);
          await put(`${b}/net`, second);
          for (const allowUnsafeFiles of [false, true]) {
            for (const mode of [0o755, 0o777]) {
              await Deno.chmod(b, mode);
              const path = findPluginNow("net", dirs, { allowUnsafeFiles });
              if (path === undefined) continue;
              const searched = await findPlugin("net", dirs, { allowUnsafeFiles });
              assertEquals(path, searched.path);
              found.push(
                `${first}, ${second}${allowUnsafeFiles ? " (any)" : ""}${mode === 0o755 ? "" : " (open)"}`,
              );
            }
          }
          await Promise.all(
            dirs.map((dir) => Deno.remove(`${dir}/net`, { recursive: true }).catch(() => {})),
          );
        }
      }
      assertEquals(found.filter((each) => each.startsWith("none, ")), [
        "none, file",
        "none, file (any)",
        "none, file (any) (open)",
        "none, unsafe (any)",
        "none, unsafe (any) (open)",
      ]);
      assertEquals(found.filter((each) => each.startsWith("file, ")).length, 4 * kinds.length);
      assertEquals(found.filter((each) => /^(?:plain|dir|link|dangling), /.test(each)), []);
    }),
});

Deno.test({
  name:
    "a plugin is not found at once where its directory may be on another machine, or is not named plainly",
  ignore: !HAS_LIBC,
  fn: () =>
    inDirs(async (a, b) => {
      await write(`${a}/net`, 0o755);
      await Deno.symlink(a, `${b}/link`);
      const dirs = [a, `${a}/`, `${b}/../a`, `${b}/link`, "/proc/self", "", "a"];
      assertEquals(dirs.map((dir) => findPluginNow("net", [dir])), dirs.map(() => undefined));
      for (const dir of dirs) if (dir !== "") await askForLocalDir(dir);
      assertEquals(
        dirs.map((dir) => findPluginNow("net", [dir])),
        dirs.map((dir) => dir === a ? `${a}/net` : undefined),
      );
    }),
});
