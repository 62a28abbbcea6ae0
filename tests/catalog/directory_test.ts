import { assertEquals, assertRejects } from "@std/assert";
import { ConfigDirectory } from "../../lib/catalog/directory.ts";
import { loadDirectory, type LoadedFile } from "../../lib/catalog/load.ts";
import { CniError } from "../../lib/cni/error.ts";

const list = (name: string, type: string) =>
  JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type }] });
const LONG_AGO = new Date("2020-02-20T20:20:20.020Z");
const conf = (name: string) => JSON.stringify({ cniVersion: "1.0.0", name, type: "bridge" });

async function inDir(fn: (directory: ConfigDirectory, dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-directory-" });
  try {
    await Deno.mkdir(`${dir}/net.d`);
    await fn(new ConfigDirectory(`${dir}/net.d`), `${dir}/net.d`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const shown = (files: readonly LoadedFile[]) =>
  files.map(({ file, list, error }) => [file, list?.text ?? error?.message]);

Deno.test("F17 F18 a directory that is read again and again gives the same result as a fresh reading", () =>
  inDir(async (directory, dir) => {
    const steps: readonly (() => Promise<unknown>)[] = [
      () => Deno.writeTextFile(`${dir}/10-a.conflist`, list("a", "bridge")),
      () => Deno.writeTextFile(`${dir}/20-b.conf`, conf("b")),
      () => Deno.mkdir(`${dir}/a`),
      () => Deno.writeTextFile(`${dir}/a/10.conf`, '{"type": "tuning"}'),
      () => Deno.writeTextFile(`${dir}/a/10.conf`, '{"type": "sbr"}'),
      () => Deno.symlink("nowhere", `${dir}/a/20.conf`),
      () => Deno.writeTextFile(`${dir}/a/nowhere`, '{"type": "vrf"}'),
      () => Deno.remove(`${dir}/a/20.conf`),
      () => Deno.remove(`${dir}/a`, { recursive: true }),
      () => Deno.writeTextFile(`${dir}/a`, "a file in place of a folder"),
      () => Deno.remove(`${dir}/a`),
      () => Deno.writeTextFile(`${dir}/10-a.conflist`, "{"),
      () => Deno.rename(`${dir}/20-b.conf`, `${dir}/05-b.json`),
      () => Deno.symlink("05-b.json", `${dir}/30-link.conf`),
      () => Deno.mkdir(`${dir}/40-folder.conf`),
      () => Deno.symlink("40-folder.conf", `${dir}/50-link.conf`),
      () => Deno.remove(`${dir}/30-link.conf`),
      () => Deno.writeTextFile(`${dir}/10-a.conflist`, list("a", "ptp")),
      () => Deno.remove(dir, { recursive: true }),
    ];
    for (const step of steps) {
      await step();
      assertEquals(shown(await directory.read()), shown(await loadDirectory(dir)));
      assertEquals(shown(await directory.read()), shown(await loadDirectory(dir)));
    }
    await Deno.writeTextFile(dir, "a file");
    const error = await assertRejects(() => directory.read(), CniError);
    assertEquals(error.context.file, dir);
  }));

Deno.test("F24 a file that has not changed gives the same object, usable or not", () =>
  inDir(async (directory, dir) => {
    await Deno.writeTextFile(`${dir}/10-a.conflist`, list("a", "bridge"));
    await Deno.writeTextFile(`${dir}/20-b.conf`, "{");
    await Deno.writeTextFile(`${dir}/30-c.conf`, conf("c"));
    await Deno.mkdir(`${dir}/a`);
    await Deno.writeTextFile(`${dir}/a/10.conf`, '{"type": "tuning"}');
    // A file that has just changed could change again within one tick of the file system's clock.
    for (const path of ["a/10.conf", "a", "10-a.conflist", "20-b.conf", "30-c.conf", ""]) {
      await Deno.utime(`${dir}/${path}`, LONG_AGO, LONG_AGO);
    }
    const first = await directory.read();
    await Deno.writeTextFile(`${dir}/30-c.conf`, conf("d"));
    const second = await directory.read();
    assertEquals(first.map((file, index) => file === second[index]), [true, true, false]);
  }));

Deno.test("expected files are opened by name, and returned only if they exist", () =>
  inDir(async (directory, dir) => {
    await Deno.writeTextFile(`${dir}/20-b.conf`, conf("b"));
    // The listing does not return this file, as if it had missed it.
    await Deno.writeTextFile(`${dir}/10-hidden`, conf("hidden"));
    const files = await directory.read(["10-hidden", "20-b.conf", "30-absent.conf"]);
    assertEquals(files.map(({ list }) => list?.name), ["hidden", "b"]);
  }));

Deno.test("F43 the names of configuration files and of their plugin folders matter, those of other files do not", () =>
  inDir(async (directory, dir) => {
    await Deno.writeTextFile(`${dir}/10-a.conflist`, list("a", "bridge"));
    await directory.read();
    const names = [
      "20-b.conf",
      "20-b.conflist",
      "20-b.json",
      "a",
      "b",
      "20-b.conf.tmp",
      "plugin.log",
      "..data",
    ];
    assertEquals(names.filter((name) => directory.concerns(name)), [
      "20-b.conf",
      "20-b.conflist",
      "20-b.json",
      "a",
    ]);
  }));

Deno.test("F43 plugin folders and links are further paths to watch", () =>
  inDir(async (directory, dir) => {
    await Deno.writeTextFile(`${dir}/10-a.conflist`, list("a", "bridge"));
    await Deno.writeTextFile(`${dir}/../b.conf`, conf("b"));
    await Deno.symlink("../b.conf", `${dir}/20-b.conf`);
    await directory.read();
    assertEquals(directory.furtherPaths, [`${dir}/20-b.conf`]);
    await Deno.mkdir(`${dir}/a`);
    await directory.read();
    assertEquals(directory.furtherPaths, [`${dir}/a`, `${dir}/20-b.conf`]);
    await Deno.remove(`${dir}/10-a.conflist`);
    await Deno.remove(`${dir}/20-b.conf`);
    await directory.read();
    assertEquals(directory.furtherPaths, []);
  }));
