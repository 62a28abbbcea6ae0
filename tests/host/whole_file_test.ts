import { assertEquals } from "@std/assert";
import { factsNow } from "../../lib/host/file_facts.ts";
import { readTextIfThere, readTextNow, wholeFileNow } from "../../lib/host/read_file.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { need } from "../root/need.ts";
import { inTempDir } from "../temp_dir.ts";

const rooted = need("root");
const needed = { ignore: rooted.ignore || !HAS_LIBC };

/** What is read, with a copy of the bytes. */
function read(path: string) {
  const whole = wholeFileNow(path);
  return typeof whole === "object" ? { facts: whole.facts, bytes: whole.bytes.slice() } : whole;
}

/** Which of these files are open. Files of other tests in this process come and go. */
async function openAmong(isMeant: (path: string) => boolean): Promise<readonly string[]> {
  // Not every Deno may look there itself.
  const script = `for fd in /proc/${Deno.pid}/fd/*; do readlink "$fd" || :; done 2>/dev/null`;
  const { stdout } = await new Deno.Command("sh", { args: ["-c", script] }).output();
  return new TextDecoder().decode(stdout).split("\n").filter(isMeant);
}

Deno.test({
  name:
    "a small file is read whole with the facts about it, also through a link and with a name beyond ASCII",
  ...needed,
  fn: () =>
    inTempDir(async (dir) => {
      const contents = { empty: 0, small: 5, full: 64 * 1024 - 1, "größe\u{1f600}": 300 };
      for (const [name, length] of Object.entries(contents)) {
        const path = `${dir}/${name}`;
        const bytes = Uint8Array.from({ length }, (_, at) => at % 251);
        await Deno.writeFile(path, bytes);
        await Deno.symlink(name, `${path}.link`);
        assertEquals(read(path), { facts: factsNow(path), bytes }, name);
        assertEquals(read(`${path}.link`), { facts: factsNow(path), bytes }, name);
      }
    }),
});

Deno.test({
  name:
    "a file that is missing is not read, anything else than a small regular file is left to Deno, and nothing stays open",
  ...needed,
  fn: () =>
    inTempDir(async (dir) => {
      await Deno.symlink("none", `${dir}/dangling`);
      await Deno.symlink("loop", `${dir}/loop`);
      await Deno.symlink("fifo", `${dir}/to-fifo`);
      await Deno.mkdir(`${dir}/dir`);
      await Deno.writeFile(`${dir}/large`, new Uint8Array(64 * 1024));
      await new Deno.Command("mkfifo", { args: [`${dir}/fifo`] }).output();
      using _socket = Deno.listen({ transport: "unix", path: `${dir}/socket` });
      const kernelFiles = ["/proc/self/stat", "/sys/kernel/mm/ksm/run", "/dev/zero"];
      const isMeant = (path: string) =>
        path.startsWith(`${dir}/`) || path === `/proc/${Deno.pid}/stat` || kernelFiles.includes(path);
      const canary = Deno.openSync(`${dir}/large`);
      assertEquals(await openAmong(isMeant), [`${dir}/large`], "what is open is seen");
      canary.close();
      for (const name of ["none", "none/none", "dangling", "x".repeat(256)]) {
        assertEquals(read(`${dir}/${name}`), undefined, name);
      }
      for (const name of ["dir", "fifo", "to-fifo", "socket", "loop", "large", "large/none", "fi\0le"]) {
        assertEquals(read(`${dir}/${name}`), "unknown", name);
      }
      // The kernel says no size of these, or a wrong one.
      for (const path of kernelFiles) {
        assertEquals(read(path), "unknown", path);
      }
      assertEquals(await openAmong(isMeant), []);
      assertEquals(readTextNow(`${dir}/large`)?.length, 64 * 1024);
      assertEquals(readTextNow(`${dir}/fifo`), undefined);
    }),
});

Deno.test({
  name: "what was read stays as it is when another file is read",
  ...needed,
  fn: () =>
    inTempDir(async (dir) => {
      for (const text of ["one", "two"]) await Deno.writeTextFile(`${dir}/${text}`, text);
      const texts = [readTextNow(`${dir}/one`), await readTextIfThere(`${dir}/two`)];
      assertEquals(texts, ["one", "two"]);
      const both = await Promise.all(["one", "two"].map((name) => readTextIfThere(`${dir}/${name}`)));
      assertEquals(both, ["one", "two"]);
    }),
});
