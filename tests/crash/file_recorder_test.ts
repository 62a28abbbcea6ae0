import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fs from "node:fs";
import { Random } from "../cni/random.ts";
import { FileHistory } from "./file_history.ts";
import { FileRecorder } from "./file_recorder.ts";
import { linesOf, readTree, writeTree } from "./file_tree.ts";

/** Records what is done in a directory of its own, and compares the record with what is there then. */
async function recorded(act: (dir: string) => Promise<void>): Promise<readonly string[]> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-crash-" });
  try {
    await Deno.writeTextFile(`${dir}/before`, "old");
    using recorder = new FileRecorder(dir);
    await act(dir);
    const { base, operations } = recorder;
    assertEquals(linesOf(new FileHistory(base, operations, new Random(1)).final()), linesOf(readTree(dir)));
    return operations.map(({ kind }) => kind);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("all changes of names are recorded, with and without a thread", async () => {
  const kinds = await recorded(async (dir) => {
    await Deno.mkdir(`${dir}/a`, { mode: 0o700 });
    Deno.mkdirSync(`${dir}/b`);
    await Deno.chmod(`${dir}/b`, 0o711);
    await Deno.rename(`${dir}/before`, `${dir}/a/x`);
    Deno.linkSync(`${dir}/a/x`, `${dir}/b/y`);
    await Deno.symlink("../a", `${dir}/b/z`);
    await Deno.remove(`${dir}/a/x`);
    Deno.writeTextFileSync(`${dir}/a/x`, "new", { mode: 0o600 });
    Deno.renameSync(`${dir}/b/y`, `${dir}/a/x`);
  });
  const names = ["mkdir", "mkdir", "chmod", "rename", "link", "symlink", "remove"];
  assertEquals(kinds, [...names, "create", "write", "rename"]);
});

Deno.test("all that is written is recorded where it was written", async () => {
  const kinds = await recorded(async (dir) => {
    {
      using file = await Deno.open(`${dir}/before`, { read: true, write: true });
      await file.seek(2, Deno.SeekMode.Start);
      await file.write(new TextEncoder().encode("longer"));
      file.seekSync(0, Deno.SeekMode.Start);
      file.writeSync(new TextEncoder().encode("N"));
      await file.sync();
      file.truncateSync(5);
      file.syncDataSync();
    }
    await Deno.writeTextFile(`${dir}/before`, "!", { append: true });
    await Deno.writeFile(`${dir}/more`, new Uint8Array([1, 2]));
    await Deno.writeTextFile(`${dir}/more`, "replaced");
    using _lock = Deno.openSync(`${dir}/lock`, { write: true, create: true, mode: 0o600 });
  });
  const replaced = ["create", "write", "truncate", "write"];
  assertEquals(kinds, ["write", "write", "sync", "truncate", "sync", "write", ...replaced, "create"]);
});

Deno.test("what fails is not recorded, and fails as it would without a record", async () => {
  const kinds = await recorded(async (dir) => {
    await assertRejects(() => Deno.mkdir(`${dir}/no/dir`), Deno.errors.NotFound);
    await assertRejects(() => Deno.remove(`${dir}/no`), Deno.errors.NotFound);
    assertThrows(
      () => Deno.openSync(`${dir}/before`, { write: true, createNew: true }),
      Deno.errors.AlreadyExists,
    );
    await assertRejects(
      () => Deno.writeTextFile(`${dir}/before`, "", { createNew: true }),
      Deno.errors.AlreadyExists,
    );
    await assertRejects(() => Deno.link(`${dir}/no`, `${dir}/a`), Deno.errors.NotFound);
  });
  assertEquals(kinds, []);
});

Deno.test("a sync says what was done when it began", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-crash-" });
  try {
    using recorder = new FileRecorder(dir);
    using file = Deno.openSync(`${dir}/a`, { write: true, createNew: true });
    file.writeSync(new Uint8Array([1]));
    const syncing = file.sync();
    file.writeSync(new Uint8Array([2]));
    await syncing;
    assertEquals(recorder.operations.map(({ kind }) => kind), ["create", "write", "write", "sync"]);
    assertEquals(recorder.operations.at(-1), { kind: "sync", inode: 1, from: 2 });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("what the recorder does not know is refused below the directory, and allowed elsewhere", async () => {
  const elsewhere = await Deno.makeTempDir({ prefix: "pwt-crash-" });
  await recorded(async (dir) => {
    const refused = [
      () => Deno.copyFileSync(`${elsewhere}/no`, `${dir}/a`),
      () => Deno.truncateSync(`${dir}/before`),
      () => fs.writeFileSync(`${dir}/a`, ""),
      () => fs.openSync(`${dir}/a`, "w"),
      () => Deno.removeSync(`${dir}/before`, { recursive: true }),
    ];
    for (const act of refused) assertThrows(act, Error, "the recorder does not know it");
    fs.writeFileSync(`${elsewhere}/a`, "");
    await Deno.copyFile(`${elsewhere}/a`, `${elsewhere}/b`);
    fs.closeSync(fs.openSync(`${dir}/before`, fs.constants.O_RDONLY));
  });
  await Deno.remove(elsewhere, { recursive: true });
});

Deno.test("after the recorder is disposed nothing is recorded", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-crash-" });
  const before = { ...Deno };
  const recorder = new FileRecorder(dir);
  recorder[Symbol.dispose]();
  await Deno.writeTextFile(`${dir}/a`, "x");
  assertEquals(recorder.operations, []);
  assertEquals(Deno.rename === before.rename && Deno.openSync === before.openSync, true);
  await Deno.remove(dir, { recursive: true });
});

Deno.test("a tree is written as it was read, links to one file included", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-crash-" });
  Deno.mkdirSync(`${dir}/a`, { mode: 0o700 });
  Deno.writeTextFileSync(`${dir}/a/x`, "text", { mode: 0o640 });
  Deno.linkSync(`${dir}/a/x`, `${dir}/a/y`);
  Deno.symlinkSync("a/x", `${dir}/link`);
  const tree = readTree(dir);
  writeTree(`${dir}/copy`, tree);
  assertEquals(linesOf(readTree(`${dir}/copy`)), linesOf(tree));
  assertEquals(Deno.statSync(`${dir}/copy/a/x`).nlink, 2);
  await Deno.remove(dir, { recursive: true });
});
