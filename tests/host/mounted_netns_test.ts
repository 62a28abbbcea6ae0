import "../open_libc.ts";
import { assertEquals } from "@std/assert";
import { mountedNamespaces, namespacesIn } from "../../lib/host/mounted_netns.ts";
import { runCommand } from "../../lib/host/command.ts";
import { FakeRun } from "../fake_run.ts";

const MOUNTS = String.raw`22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:4 net:[4026532001] /run/netns/one rw shared:7 - nsfs nsfs rw
41 22 0:4 net:[4026532001] /mnt/one rw - nsfs nsfs rw
42 22 0:4 net:[4026532002] /run/netns/a\040b\134c rw shared:8 - nsfs nsfs rw
43 22 0:4 mnt:[4026532003] /run/mnt rw - nsfs nsfs rw
44 22 0:4 net:[4026532004]
`;

Deno.test("network namespaces are found by their mounts, each once, with blanks in their paths", () => {
  assertEquals(namespacesIn(MOUNTS), ["/mnt/one", "/run/netns/a b\\c"]);
  assertEquals(namespacesIn(""), []);
});

Deno.test("the mounts are those of this process, by a program where that is needed", async () => {
  const fake = new FakeRun([{ stdout: MOUNTS }]);
  assertEquals(await mountedNamespaces({ run: fake.run }), ["/mnt/one", "/run/netns/a b\\c"]);
  assertEquals(await mountedNamespaces({ run: runCommand }), await mountedNamespaces());
});
