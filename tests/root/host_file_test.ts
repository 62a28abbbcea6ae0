import { assert, assertEquals, assertRejects } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { runCommand, runOk } from "../../lib/host/command.ts";
import { createExclusive, readTextIfThere, writeFileSynced } from "../../lib/host/file.ts";
import { tryLockFile } from "../../lib/host/lock.ts";
import { need } from "./need.ts";

/** A file system of 1 MiB. */
async function inTmpfs(fn: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  const mount = (...args: string[]) => runOk(runCommand, { program: "mount", args });
  await mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", dir);
  try {
    await fn(dir);
  } finally {
    await runCommand({ program: "umount", args: ["-l", dir] });
    await Deno.remove(dir);
  }
}

const names = (dir: string) => Array.from(Deno.readDirSync(dir), ({ name }) => name).sort();

Deno.test({
  name: "writeFileSynced() on a full disk keeps the old file and leaves nothing else",
  ...need("root"),
  fn: () =>
    inTmpfs(async (dir) => {
      await writeFileSynced(`${dir}/a`, "old");
      const error = await assertRejects(() => writeFileSynced(`${dir}/a`, "x".repeat(2_000_000)), Error);
      assert(error.message.includes("os error 28"));
      await assertRejects(() => createExclusive(`${dir}/b`, "x".repeat(2_000_000)), Error);
      assertEquals({ names: names(dir), readTextIfThere: await readTextIfThere(`${dir}/a`) }, {
        names: ["a"],
        readTextIfThere: "old",
      });
      await writeFileSynced(`${dir}/a`, "x".repeat(20_000));
    }),
});

Deno.test({
  name:
    "the space of a failed write is free again at once, even while another process still has the file open",
  ...need("root"),
  fn: () =>
    inTmpfs(async (dir) => {
      const failed = assertRejects(
        () => writeFileSynced(`${dir}/a`, "x".repeat(2_000_000)),
        Error,
        "os error 28",
      );
      using _held = await openUnfinished(dir);
      await failed;
      await writeFileSynced(`${dir}/a`, "x".repeat(20_000));
    }),
});

/** Opens the file during the write, as a child does that is forked just then. */
async function openUnfinished(dir: string): Promise<Deno.FsFile> {
  for (;;) {
    const name = names(dir).find((name) => name.endsWith(".tmp"));
    if (name !== undefined) return Deno.openSync(`${dir}/${name}`);
    await delay(0);
  }
}

Deno.test({
  name: "writes and locks on a read-only file system report it",
  ...need("root"),
  fn: () =>
    inTmpfs(async (dir) => {
      await writeFileSynced(`${dir}/a`, "old");
      await runOk(runCommand, { program: "mount", args: ["-o", "remount,ro", dir] });
      for (const write of [writeFileSynced, createExclusive]) {
        const error = await assertRejects(() => write(`${dir}/a`, "new") as Promise<unknown>, Error);
        assert(error.message.includes("os error 30"));
      }
      await assertRejects(() => tryLockFile(`${dir}/lock`), Error, "os error 30");
      assertEquals(await readTextIfThere(`${dir}/a`), "old");
    }),
});
