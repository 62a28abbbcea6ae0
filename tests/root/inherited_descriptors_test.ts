// What the program was started with, beyond its standard input, output and error, reaches no program that it starts.
import { assertEquals } from "@std/assert";
import { binaryTest, sh } from "./binary_world.ts";

/** Notes how many descriptors lead to the secret file, and reads it by them. */
const RECORDER = (seen: string) =>
  `#!/bin/sh
cat >/dev/null
echo "$CNI_COMMAND $(ls -l /proc/$$/fd | grep -c secret)" >>${seen}
for fd in /proc/$$/fd/*; do case $(readlink $fd) in *secret) cat $fd >>${seen} ;; esac; done
[ "$CNI_COMMAND" != ADD ] || echo '{"dns": {}}'
`;

binaryTest("descriptors of a file reach neither a plugin nor exec's program", [], async (world) => {
  const [secret, seen] = [`${world.dir}/secret`, `${world.dir}/seen`];
  await Deno.writeTextFile(secret, "the secret\n");
  await world.plugin("recorder", RECORDER(seen));
  await world.list([{ type: "recorder" }]);
  const options = world.dirs.join(" ");
  const id = world.id("web");
  const podwire = (args: string) =>
    sh(`bash -c 'exec 3<${secret} 12<${secret} 204<${secret}; exec dist/podwire "$@"' podwire ${args}`);
  await podwire(`run web --id ${id} ${options}`);
  const listed = await podwire(`exec web ${options} -- ls -l /proc/self/fd`);
  assertEquals(listed.includes("secret"), false, listed);
  const said = await podwire(`exec web ${options} -- sh -c 'cat <&3 2>&1; echo read'`.replaceAll("'", '"'));
  assertEquals([said.includes("the secret"), said.includes("read")], [false, true], said);
  await podwire(`rm -f web ${options}`);
  assertEquals(await Deno.readTextFile(seen), "ADD 0\nDEL 0\n");
  // What holds without podwire in between, or the test could not fail.
  const without = await sh(
    `bash -c 'exec 3<${secret} 12<${secret}; CNI_COMMAND=ADD ${world.pluginDir}/recorder </dev/null'`,
  );
  assertEquals(without, '{"dns": {}}\n');
  assertEquals((await Deno.readTextFile(seen)).split("\n").slice(2), [
    "ADD 2",
    "the secret",
    "the secret",
    "",
  ]);
});
