import { assertEquals } from "@std/assert";
import { setSysctls } from "../../lib/kernel/sysctl_files.ts";
import { fakeLibc } from "./fake_libc.ts";

/** Files below /proc/sys with one value, which a write may change; returns what was written. */
function files(value: string | undefined, { isFixed = false, fails = false } = {}) {
  const written: string[] = [];
  let now = value;
  let isRead = false;
  const libc = fakeLibc({
    open: () => {
      isRead = false;
      return now === undefined ? -1 : 3;
    },
    read: (_fd, bytes) => {
      if (isRead) return 0;
      isRead = true;
      bytes.set(new TextEncoder().encode(`${now}\n`));
      return `${now}\n`.length;
    },
    write: (_fd, bytes) => {
      written.push(new TextDecoder().decode(bytes));
      if (!isFixed) now = new TextDecoder().decode(bytes).trim();
      return fails ? -1 : bytes.length;
    },
    errno: () => now === undefined ? 2 : 30,
  });
  return { libc, written };
}

const required = [{ name: "net/a.b/c", value: "1", required: true }] as const;
const wanted = [{ name: "net/a.b/c", value: "1" }] as const;

Deno.test("a kernel parameter that has its value is not written", () => {
  const { libc, written } = files("1");
  assertEquals([setSysctls(libc, required), written], [undefined, []]);
});

Deno.test("a kernel parameter that has another value is written", () => {
  for (const sysctls of [required, wanted]) {
    const { libc, written } = files("0");
    assertEquals([setSysctls(libc, sysctls), written], [undefined, ["1\n"]]);
  }
});

Deno.test("a required kernel parameter that is not set is named, with the reason; others are passed over", () => {
  const cases = [
    [
      () => files(undefined),
      'the kernel parameter "net/a.b/c" cannot be set to 1: No such file or directory',
    ],
    [
      () => files("0", { fails: true }),
      'the kernel parameter "net/a.b/c" cannot be set to 1: Read-only file system',
    ],
    [() => files("0", { isFixed: true }), 'the kernel parameter "net/a.b/c" stays "0"'],
  ] as const;
  for (const [make, problem] of cases) {
    assertEquals(setSysctls(make().libc, required), problem);
    assertEquals(setSysctls(make().libc, wanted), undefined);
  }
});
