// No command runs or reads as root what others than root could have written, unless an option allows it.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { binaryTest, type BinaryWorld, sh } from "./binary_world.ts";

const GOOD = `#!/bin/sh
cat >/dev/null
: >"$0.ran"
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0"}'
`;

/** Runs a sandbox, which must be refused with this message, and then allows it. */
async function refusedThenAllowed(world: BinaryWorld, words: string): Promise<void> {
  const { code, stderr } = await world.podwire(["run", "web", "--id", world.id("web")]);
  assertEquals(code !== 0, true, stderr);
  assertStringIncludes(stderr, words);
  assertStringIncludes(stderr, "--allow-unsafe-files");
  await sh(`test ! -e ${world.pluginDir}/good.ran`);
  const unsafe = ["--allow-unsafe-files"];
  await world.done(["run", "web", "--id", world.id("web"), ...unsafe]);
  await world.done(["rm", "web", ...unsafe]);
}

for (
  const [what, script, words] of [
    ["a plugin that all can write", "chmod 0777 bin/good", "bin/good: the plugin is not started"],
    ["a plugin of another user", "chown 54321 bin/good", "it is owned by user 54321"],
    ["a plugin in a directory of another user", "chown 54321 bin", "it is owned by user 54321"],
    [
      "a plugin that is a link into an open directory",
      "mkdir open; chmod 0777 open; mv bin/good open/; ln -s ../open/good bin/good",
      "/open): it can be written by others",
    ],
    [
      "a configuration file of a group",
      "chmod 0664 net.d/*.conflist",
      "the configuration is not used: it can be written by others",
    ],
    [
      "a configuration directory that all can write",
      "chmod 1777 net.d",
      "the configuration directory is not used",
    ],
    [
      "a state directory of another user",
      "mkdir state; chown 54321 state",
      "/state: the directory is not used",
    ],
  ] as const
) {
  binaryTest(`${what} is refused, unless it is allowed`, [], async (world) => {
    await world.plugin("good", GOOD);
    await world.list([{ type: "good" }]);
    await sh(`cd ${world.dir}; ${script}`);
    await refusedThenAllowed(world, words);
  });
}

binaryTest("what a plugin delegates to is checked, too", [], async (world) => {
  await world.plugin("good", GOOD);
  await world.plugin("addresses", GOOD, 0o777);
  await world.list([{ type: "good", ipam: { type: "addresses" } }]);
  await refusedThenAllowed(world, "bin/addresses: the plugin is not started");
});
