import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";
import {
  compareBytes,
  createExclusive,
  ensureDir,
  inEnsuredDir,
  listAnyDir,
  listDir,
  listDirsIn,
  listIfDir,
  readTextIfThere,
  realPath,
  removeDirIfEmpty,
  removeIfThere,
  removeUnfinished,
  statOf,
  UnreadableFileError,
  writeFileSynced,
} from "../../lib/host/file.ts";
import { setAside } from "../../lib/host/set_aside.ts";
import { inTempDir } from "../temp_dir.ts";
import { Syncs } from "../syncs.ts";

const FILE = new URL("../../lib/host/file.ts", import.meta.url);
const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));

const mode = async (path: string) => ((await statOf(path))?.mode ?? 0) & 0o7777;
const names = (dir: string) => Array.from(Deno.readDirSync(dir), ({ name }) => name).sort();

Deno.test("readTextIfThere() returns undefined for a missing file, and throws for anything else than a file", () =>
  inTempDir(async (dir) => {
    assertEquals(await readTextIfThere(`${dir}/a`), undefined);
    await Deno.writeTextFile(`${dir}/a`, "");
    assertEquals(await readTextIfThere(`${dir}/a`), "");
    await Deno.writeTextFile(`${dir}/bom`, "\ufeffé");
    assertEquals(await readTextIfThere(`${dir}/bom`), "\ufeffé");
    await assertRejects(
      () => readTextIfThere(dir),
      UnreadableFileError,
      "it is a directory, not a regular file",
    );
    await Deno.symlink(`${dir}/nowhere`, `${dir}/link`);
    await assertRejects(() => readTextIfThere(`${dir}/link`));
    await assertRejects(() => readTextIfThere(`${dir}/a/b`), Deno.errors.NotADirectory);
  }));

Deno.test("writeFileSynced() creates and replaces a file, and leaves nothing else", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/a.json`;
    await writeFileSynced(path, "one");
    const before = (await statOf(path))?.ino;
    await writeFileSynced(path, "two é\n");
    assertEquals(await Deno.readTextFile(path), "two é\n");
    assertNotEquals((await statOf(path))?.ino, before);
    assertEquals(names(dir), ["a.json"]);
    await writeFileSynced(path, "");
    assertEquals((await statOf(path))?.size, 0);
  }));

Deno.test("a file that need not survive a loss of power is written as completely as one that must", () =>
  inTempDir(async (dir) => {
    const options = { durable: false };
    assertEquals(await createExclusive(`${dir}/a`, "one", options), true);
    assertEquals(await createExclusive(`${dir}/a`, "two", options), false);
    assertEquals(await readTextIfThere(`${dir}/a`), "one");
    await writeFileSynced(`${dir}/a`, "three", options);
    assertEquals(
      { text: await readTextIfThere(`${dir}/a`), mode: await mode(`${dir}/a`) },
      { text: "three", mode: 0o600 },
    );
    assertEquals(names(dir), ["a"]);
    await assertRejects(() => writeFileSynced(`${dir}/none/a`, "", options), Deno.errors.NotFound);
  }));

Deno.test("inEnsuredDir() creates a missing directory, and runs the body again", () =>
  inTempDir(async (dir) => {
    let runs = 0;
    const write = async () => {
      runs++;
      await writeFileSynced(`${dir}/a/b/c`, "");
      return "done";
    };
    assertEquals(await inEnsuredDir(`${dir}/a/b`, 0o700, write), "done");
    assertEquals({ runs, mode: await mode(`${dir}/a/b`) }, { runs: 2, mode: 0o700 });
    assertEquals(await inEnsuredDir(`${dir}/a/b`, 0o700, write), "done");
    assertEquals(runs, 3);
    await assertRejects(() => inEnsuredDir(dir, 0o700, () => Deno.remove(`${dir}/x`)), Deno.errors.NotFound);
    await assertRejects(
      () => inEnsuredDir(`${dir}/a/b/c/d`, 0o700, () => Promise.reject(new Error("own"))),
      Error,
      "own",
    );
  }));

/** Runs statements that import from file.ts in a process with this umask, because a process cannot change its own. */
async function underUmask(dir: string, umask: string, statements: string): Promise<void> {
  const script = `${dir}/umask-${umask}.ts`;
  await Deno.writeTextFile(script, `import * as file from "${FILE}";\n${statements}`);
  const deno = ["run", "-q", "--no-prompt", "--no-check", "--allow-read", "--allow-write", script];
  const args = ["-c", `umask ${umask}; exec "$@"`, "sh", DENOW, ...deno];
  const { code, stderr } = await new Deno.Command("sh", { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

Deno.test("writeFileSynced() sets the mode regardless of the umask", () =>
  inTempDir(async (dir) => {
    await underUmask(
      dir,
      "077",
      `await file.writeFileSynced("${dir}/a", ""); await file.writeFileSynced("${dir}/b", "", { mode: 0o644 });`,
    );
    await underUmask(
      dir,
      "000",
      `await file.writeFileSynced("${dir}/c", ""); await file.createExclusive("${dir}/d", "", { mode: 0o666 });`,
    );
    assertEquals(await Promise.all(["a", "b", "c", "d"].map((name) => mode(`${dir}/${name}`))), [
      0o600,
      0o644,
      0o600,
      0o666,
    ]);
  }));

Deno.test("writeFileSynced() accepts names as long as the file system does", () =>
  inTempDir(async (dir) => {
    const name = "n".repeat(255);
    await writeFileSynced(`${dir}/${name}`, "x");
    assertEquals(names(dir), [name]);
  }));

Deno.test("writeFileSynced() shows readers whole texts only", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/a`;
    const texts = Array.from({ length: 20 }, (_, i) => String.fromCharCode(97 + i).repeat(50_000 + i));
    await writeFileSynced(path, texts[0] ?? "");
    let writing = true;
    const reader = async () => {
      while (writing) assert(texts.includes(await readTextIfThere(path) ?? "missing"));
    };
    const reading = reader();
    await Promise.all(texts.map((text) => writeFileSynced(path, text)));
    writing = false;
    await reading;
    assertEquals(names(dir), ["a"]);
  }));

Deno.test("writeFileSynced() leaves nothing behind when it fails", () =>
  inTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/taken/full`, { recursive: true });
    await assertRejects(() => writeFileSynced(`${dir}/taken`, "x"), Deno.errors.IsADirectory);
    await assertRejects(() => writeFileSynced(`${dir}/${"n".repeat(256)}`, "x"));
    await assertRejects(() => writeFileSynced(`${dir}/absent/a`, "x"), Deno.errors.NotFound);
    assertEquals(names(dir), ["taken"]);
  }));

for (const durable of [true, "text", false] as const) {
  Deno.test(`createExclusive() (durable: ${durable}) returns true to one of many callers, whose text the file has`, () =>
    inTempDir(async (dir) => {
      const path = `${dir}/10.0.0.2`;
      const numbers = Array.from({ length: 30 }, (_, i) => i);
      const won = await Promise.all(numbers.map((n) => createExclusive(path, `${n}\n`, { durable })));
      assertEquals(won.filter((one) => one).length, 1);
      assertEquals(await Deno.readTextFile(path), `${won.indexOf(true)}\n`);
      assertEquals(await mode(path), 0o600);
      assertEquals(names(dir), ["10.0.0.2"]);
    }));

  Deno.test(`createExclusive() (durable: ${durable}) leaves what is there as it is, a dangling link too`, () =>
    inTempDir(async (dir) => {
      await Deno.symlink("nowhere", `${dir}/link`);
      await Deno.mkdir(`${dir}/folder`);
      for (const name of ["link", "folder"]) {
        assertEquals(await createExclusive(`${dir}/${name}`, "x", { durable }), false);
      }
      await assertRejects(() => createExclusive(`${dir}/absent/a`, "x", { durable }), Deno.errors.NotFound);
      assertEquals(names(dir), ["folder", "link"]);
    }));
}

Deno.test("removeIfThere() returns whether there was something", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/a`, "");
    assertEquals(await removeIfThere(`${dir}/a`), true);
    assertEquals(await removeIfThere(`${dir}/a`), false);
  }));

Deno.test("removeDirIfEmpty() keeps a directory that is not empty, and a file", () =>
  inTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/d`);
    await Deno.writeTextFile(`${dir}/d/f`, "");
    assertEquals(await removeDirIfEmpty(`${dir}/d`), false);
    await assertRejects(() => removeDirIfEmpty(`${dir}/d/f`), Deno.errors.NotADirectory);
    await Deno.remove(`${dir}/d/f`);
    assertEquals(await removeDirIfEmpty(`${dir}/d`), true);
    assertEquals(await removeDirIfEmpty(`${dir}/d`), false);
  }));

Deno.test("a write waits for the disk as often as its durability needs", () =>
  inTempDir(async (dir) => {
    using syncs = new Syncs();
    for (const [durable, expected] of [[undefined, 2], [true, 2], ["text", 1], [false, 0]] as const) {
      for (const write of [writeFileSynced, createExclusive]) {
        const path = `${dir}/${durable}-${write.name}`;
        await write(path, "text", { durable });
        assertEquals({ durable, syncs: syncs.take(), text: await readTextIfThere(path) }, {
          durable,
          syncs: expected,
          text: "text",
        });
      }
    }
  }));

Deno.test("a look into a directory hides unfinished writes, and shows which entries are directories", () =>
  inTempDir(async (dir) => {
    const unfinished = `.podwire-${2 ** 22 + 1}-${"0".repeat(32)}.tmp`;
    for (const name of ["b", "a", unfinished]) await Deno.writeTextFile(`${dir}/${name}`, "");
    await Deno.mkdir(`${dir}/folder`);
    await Deno.symlink("folder", `${dir}/link`);
    await Deno.symlink("absent", `${dir}/nowhere`);
    const names = ["a", "b", "folder", "link", "nowhere"];
    assertEquals([await listDir(dir), await listAnyDir(dir), await listIfDir(dir)], [names, names, names]);
    assertEquals(await listDirsIn(dir), ["folder", "link"]);
    assertEquals(await listIfDir(`${dir}/absent`), []);
    assertEquals(await listIfDir(`${dir}/a`), undefined);
    assertEquals(await listDirsIn(`${dir}/absent`), []);
  }));

Deno.test("listDir() sorts by UTF-8 bytes and hides unfinished writes", () =>
  inTempDir(async (dir) => {
    const sorted = ["10-a", "9-b", "A", "a", "a.b", "b", "é", "ａ", "😀"];
    for (const name of sorted.toReversed()) await Deno.writeTextFile(`${dir}/${name}`, "");
    await Deno.writeTextFile(`${dir}/.podwire-1-${"0".repeat(32)}.tmp`, "");
    assertEquals(await listDir(dir), sorted);
    assertEquals(await listDir(`${dir}/absent`), []);
    await assertRejects(() => listDir(`${dir}/a`), Deno.errors.NotADirectory);
  }));

Deno.test("compareBytes() agrees with the comparison of encoded bytes", () => {
  const texts = [
    "",
    "a",
    "ab",
    "b",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\u{10000}",
    "\u{10ffff}",
    "a\u{1f600}b",
    "a\uff41b",
  ];
  const encode = (text: string) => new TextEncoder().encode(text);
  const byBytes = (a: string, b: string) => {
    const [x, y] = [encode(a), encode(b)];
    const at = x.findIndex((byte, i) => byte !== y[i]);
    return at === -1 ? x.length - y.length : (x[at] ?? 0) - (y[at] ?? -1);
  };
  for (const a of texts) {
    for (const b of texts) assertEquals(Math.sign(compareBytes(a, b)), Math.sign(byBytes(a, b)), `${a} ${b}`);
  }
});

Deno.test("removeUnfinished() removes the unfinished writes of dead processes only", () =>
  inTempDir(async (dir) => {
    const child = new Deno.Command("true").spawn();
    await child.status;
    const hex = "0123456789abcdef".repeat(2);
    const names = [
      `.podwire-${child.pid}-${hex}.tmp`,
      `.podwire-${Deno.pid}-${hex}.tmp`,
      ".podwire-1.tmp",
      "web.json",
    ];
    for (const name of names) await Deno.writeTextFile(`${dir}/${name}`, "");
    assertEquals(await removeUnfinished(dir), 1);
    assertEquals(Array.from(Deno.readDirSync(dir), ({ name }) => name).sort(), names.slice(1).sort());
    assertEquals(await removeUnfinished(`${dir}/absent`), 0);
  }));

Deno.test("ensureDir() fails where the kernel allows no directories", async () => {
  const error = await assertRejects(() => ensureDir("/proc/podwire"));
  // From Deno 2.8.3 on, Deno refuses it first.
  assert(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable, String(error));
  await assertRejects(() => ensureDir("/proc/podwire/a"));
});

Deno.test("ensureDir() creates a directory with its mode, and leaves an existing one as it is", () =>
  inTempDir(async (dir) => {
    const umask = Number.parseInt((await runCommand({ program: "sh", args: ["-c", "umask"] })).stdout, 8);
    await ensureDir(`${dir}/a/b`, 0o700);
    assertEquals([await mode(`${dir}/a`), await mode(`${dir}/a/b`)], [0o755 & ~umask, 0o700]);
    await ensureDir(`${dir}/a/b`, 0o755);
    assertEquals(await mode(`${dir}/a/b`), 0o700);
    await Deno.symlink("a", `${dir}/link`);
    await ensureDir(`${dir}/link`);
    await Deno.writeTextFile(`${dir}/file`, "");
    await assertRejects(() => ensureDir(`${dir}/file`));
    await Promise.all(Array.from({ length: 20 }, () => ensureDir(`${dir}/x/y/z`)));
  }));

Deno.test("setAside() moves a file to a free name, and returns the name", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/a.json`;
    for (const n of [1, 2]) {
      await Deno.writeTextFile(path, `bad ${n}`);
      assertEquals(await setAside(path), `${path}.bad-${n}`);
    }
    assertEquals(names(dir), ["a.json.bad-1", "a.json.bad-2"]);
    assertEquals(await Deno.readTextFile(`${path}.bad-2`), "bad 2");
    await assertRejects(() => setAside(path), Deno.errors.NotFound);
  }));

Deno.test("statOf() and realPath() follow links", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/a`, "abc", { mode: 0o755 });
    await Deno.symlink("a", `${dir}/link`);
    const [file, link] = [await statOf(`${dir}/a`), await statOf(`${dir}/link`)];
    assertEquals(link, file);
    assertEquals([file?.isFile, file?.isDirectory, file?.size, (file?.mode ?? 0) & 0o111], [
      true,
      false,
      3,
      0o111,
    ]);
    assertEquals(await realPath(`${dir}/link`), await realPath(`${dir}/a`));
    assertEquals(await statOf(`${dir}/absent`), undefined);
    await assertRejects(() => realPath(`${dir}/absent`), Deno.errors.NotFound);
  }));

Deno.test("regardless of the umask, a directory gets its mode, its parents 0755, and files theirs", () =>
  inTempDir(async (dir) => {
    for (const umask of ["000", "077"]) {
      const top = `${dir}/${umask}`;
      await underUmask(
        dir,
        umask,
        `await file.ensureDir("${top}/a/b", 0o700);
        await file.ensureDir("${top}/a/c", 0o755);
        await file.writeFileSynced("${top}/a/b/file", "");
        await file.writeFileSynced("${top}/a/b/open", "", { mode: 0o644, durable: false });`,
      );
      const paths = [top, `${top}/a`, `${top}/a/b`, `${top}/a/c`, `${top}/a/b/file`, `${top}/a/b/open`];
      assertEquals(await Promise.all(paths.map(mode)), [0o755, 0o755, 0o700, 0o755, 0o600, 0o644]);
    }
  }));

Deno.test("a name that is too long for a file counts as missing", async () => {
  const path = `/tmp/${"x".repeat(300)}`;
  assertEquals(await readTextIfThere(path), undefined);
  assertEquals(await statOf(path), undefined);
  assertEquals(await listDir(path), []);
  assertEquals(await removeIfThere(path), false);
});
