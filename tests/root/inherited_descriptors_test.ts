// Descriptors that the program inherits, beyond standard input, output and error, reach no program that it
// starts.
import { assertEquals } from "@std/assert";
import { binaryTest, sh } from "./binary_world.ts";

/** Records how many descriptors lead to the secret file, and reads it through them. */
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
  // This holds without podwire in between; otherwise the test could not fail.
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

binaryTest(
  "the caller's PATH comes first for exec, with inherited descriptors and without",
  [],
  async (world) => {
    const [bin, secret] = [`${world.dir}/own-bin`, `${world.dir}/secret`];
    await Deno.mkdir(bin);
    await Deno.writeTextFile(secret, "the secret\n");
    // Both of podwire's own program and of the user's: each records that it was found, and runs the system's.
    for (const program of ["nsenter", "uname"]) {
      const script = `#!/bin/sh\necho own ${program} >&2\nexec /usr/bin/${program} "$@"\n`;
      await Deno.writeTextFile(`${bin}/${program}`, script, { mode: 0o755 });
      // A file that cannot be executed is skipped, as execvp(3) does.
      await Deno.mkdir(`${world.dir}/none`, { recursive: true });
      await Deno.writeTextFile(`${world.dir}/none/${program}`, script, { mode: 0o644 });
    }
    await world.done(["run", "web", "--id", world.id("web"), "--network=none"]);
    const called = `exec dist/podwire exec web ${world.dirs.join(" ")} -- uname 2>&1`;
    for (const open of ["", `exec 3<${secret} 12<${secret};`]) {
      for (const path of [`${bin}:/usr/bin`, `${world.dir}/none:${bin}`, `/nonexistent:${bin}:/bin`]) {
        const said = await sh(`bash -c '${open} PATH=${path} ${called}'`);
        assertEquals(said, "own nsenter\nown uname\nLinux\n", `${open} ${path}`);
      }
      assertEquals(await sh(`bash -c '${open} PATH=/usr/bin ${called}'`), "Linux\n", open);
    }
    await world.done(["rm", "web"]);
  },
);
