import { assertEquals, assertRejects } from "@std/assert";
import { runCommand, runOk } from "../../lib/host/command.ts";
import {
  LARGEST_FILE,
  readFileIfThere,
  readHeadSync,
  readTextIfThere,
  UnreadableFileError,
} from "../../lib/host/read_file.ts";
import { inTempDir } from "../temp_dir.ts";

const fifo = (path: string) => runOk(runCommand, { program: "mkfifo", args: [path] });

/** Returns the error of reading a path, which must contain the path. */
async function refusal(path: string): Promise<string> {
  const error = await assertRejects(() => readTextIfThere(path), UnreadableFileError);
  assertEquals(error.message, `Cannot read "${path}": ${error.why}`);
  return error.why;
}

Deno.test("everything except a regular file is refused with its kind, and never waited for", () =>
  inTempDir(async (dir) => {
    await fifo(`${dir}/fifo`);
    await Deno.symlink("fifo", `${dir}/link`);
    await Deno.symlink("/dev/zero", `${dir}/zero`);
    using _socket = Deno.listen({ transport: "unix", path: `${dir}/socket` });
    assertEquals(await refusal(`${dir}/fifo`), "it is a FIFO, not a regular file");
    assertEquals(await refusal(`${dir}/link`), "it is a FIFO, not a regular file");
    assertEquals(await refusal(`${dir}/zero`), "it is a device, not a regular file");
    assertEquals(await refusal(`${dir}/socket`), "it is a socket, not a regular file");
    assertEquals(readHeadSync(`${dir}/fifo`, 4), undefined);
    assertEquals(readHeadSync(`${dir}/zero`, 4), undefined);
    assertEquals(readHeadSync(`${dir}/none`, 4), undefined);
  }));

Deno.test("a file of up to 4 MiB is read, and no larger one", () =>
  inTempDir(async (dir) => {
    const bytes = new Uint8Array(LARGEST_FILE).fill(0x61);
    await Deno.writeFile(`${dir}/full`, bytes);
    assertEquals((await readFileIfThere(`${dir}/full`))?.byteLength, LARGEST_FILE);
    assertEquals(readHeadSync(`${dir}/full`, 4)?.byteLength, 4);
    await Deno.writeFile(`${dir}/full`, new Uint8Array(1), { append: true });
    assertEquals(await refusal(`${dir}/full`), "it is larger than 4 MiB");
    // It takes no space on the disk.
    await Deno.writeTextFile(`${dir}/huge`, "");
    await Deno.truncate(`${dir}/huge`, 3_000_000_000);
    assertEquals(await refusal(`${dir}/huge`), "it is larger than 4 MiB");
  }));

Deno.test("a path that alternates between a file and a FIFO never makes a reader wait", () =>
  inTempDir(async (dir) => {
    await fifo(`${dir}/fifo`);
    await Deno.writeTextFile(`${dir}/file`, "text");
    const script = "while ln -s fifo next && mv next path && ln -s file next && mv next path; do :; done";
    const swapping = new Deno.Command("sh", { args: ["-c", script], cwd: dir, detached: true }).spawn();
    try {
      const seen = new Set<string>();
      while (seen.size < 2) {
        const read = await readTextIfThere(`${dir}/path`).catch((error) => {
          if (!(error instanceof UnreadableFileError)) throw error;
          return error.why;
        });
        if (read !== undefined) seen.add(read);
      }
      assertEquals([...seen].sort(), ["it is a FIFO, not a regular file", "text"]);
    } finally {
      Deno.kill(-swapping.pid, "SIGKILL");
      await swapping.status;
    }
  }));
