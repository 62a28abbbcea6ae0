import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { need } from "../root/need.ts";

const CHILD = fromFileUrl(new URL("libc_process.ts", import.meta.url));
const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));

/** What a process of Deno with these permissions prints. */
async function printed(...flags: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand({
    program: DENOW,
    args: ["run", "-q", "--no-prompt", ...flags, CHILD],
    env: Deno.env.toObject(),
    signal: AbortSignal.timeout(60_000),
  });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  return stdout.trim();
}

Deno.test("without the whole permission the C library is not called", async () => {
  assertEquals(await printed(), "false");
  assertEquals(await printed("--allow-ffi=/usr/lib"), "false");
  assertEquals(await printed("--deny-ffi", "--allow-read"), "false");
});

Deno.test({
  name: "with the permission a process asks the kernel, and ends although a socket is open",
  ignore: !HAS_LIBC,
  fn: async () => assertEquals(await printed("--allow-ffi"), "true lo lo"),
});

Deno.test({
  name: "the permissions of this run are enough to call the C library",
  ...need("ip"),
  fn: () => assertEquals(HAS_LIBC, true),
});
