import { assertEquals } from "@std/assert";
import { HAS_LIBC } from "../open_libc.ts";
import { need } from "../root/need.ts";
import { printedBy } from "./denow_process.ts";

Deno.test("without the whole permission the C library is not called", async () => {
  assertEquals(await printedBy("libc_process.ts", []), "false");
  assertEquals(await printedBy("libc_process.ts", ["--allow-ffi=/usr/lib"]), "false");
  assertEquals(await printedBy("libc_process.ts", ["--deny-ffi", "--allow-read"]), "false");
});

Deno.test({
  name: "with the permission a process asks the kernel, and ends although a socket is open",
  ignore: !HAS_LIBC,
  fn: async () => assertEquals(await printedBy("libc_process.ts", ["--allow-ffi"]), "true lo lo"),
});

Deno.test({
  name: "the permissions of this run are enough to call the C library",
  ...need("ip"),
  fn: () => assertEquals(HAS_LIBC, true),
});
