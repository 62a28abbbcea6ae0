import { assertEquals } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { inTempDir } from "../temp_dir.ts";
import { expectedLines, layoutProgram } from "./layout_program.ts";

/** Why the program cannot be made here; undefined if it can. */
function obstacle(): string | undefined {
  const isThere = (path: string) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  };
  if (!["/usr/bin/cc", "/usr/local/bin/cc"].some(isThere)) return "no C compiler";
  return isThere("/usr/include/linux/rtnetlink.h") ? undefined : "no headers of the kernel";
}

const lacking = obstacle();

Deno.test({
  name: `every number and layout is that of the headers${
    lacking === undefined ? "" : ` (skipped: ${lacking})`
  }`,
  ignore: lacking !== undefined,
  fn: () =>
    inTempDir(async (dir) => {
      await Deno.writeTextFile(`${dir}/layout.c`, layoutProgram());
      const built = await runCommand({ program: "cc", args: ["-o", `${dir}/layout`, `${dir}/layout.c`] });
      assertEquals({ code: built.code, stderr: built.stderr }, { code: 0, stderr: "" });
      const { stdout } = await runCommand({ program: `${dir}/layout` });
      assertEquals(stdout.trimEnd().split("\n"), expectedLines());
    }),
});
