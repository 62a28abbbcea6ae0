// A file that podwire wrote and that is something else by now: whatever it is, commands go on and say so.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { binaryTest, type BinaryWorld, sh } from "./binary_world.ts";

const REPLACEMENTS: Readonly<Record<string, string>> = {
  "a FIFO": 'mkfifo "$1"',
  "a socket":
    `perl -MIO::Socket::UNIX -e 'chdir "/"; IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die $!' "$1"`,
  "a directory": 'mkdir "$1"',
  "a file of 5 MB": 'head -c 5000000 /dev/zero >"$1"',
  "a link to a device": 'ln -s /dev/zero "$1"',
};

/** The records of one sandbox, below the world's directory. */
async function records(world: BinaryWorld): Promise<string[]> {
  const found = await sh(
    `cd ${world.dir} && find state cache addresses -type f ! -name '*lock' ! -path '*/run/*'`,
  );
  return found.split("\n").filter((file) => file !== "").sort();
}

for (const [kind, make] of Object.entries(REPLACEMENTS)) {
  binaryTest(`each record in turn is ${kind}, and every command goes on`, [], async (world) => {
    await world.list([world.bridgePlugin(), { type: "portmap", capabilities: { portMappings: true } }]);
    const id = world.id("web");
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    await world.done(["run", "web", "--id", id, "-p", `${port}:80`]);
    const before = await records(world);
    for (const file of before) {
      const path = `${world.dir}/${file}`;
      await sh(`mv ${path} ${world.dir}/kept && set -- ${path} && ${make}`);
      for (
        const call of [["ps"], ["ps", "--json"], ["attachments"], ["status"], ["networks"], ["gc", "--all"], [
          "recover",
        ]]
      ) {
        const startedAt = Date.now();
        const { code, stderr, stdout } = await world.podwire(call);
        console.log(
          kind,
          file,
          call.join(" "),
          code,
          Date.now() - startedAt,
          stderr.slice(0, 300),
          stdout.slice(0, 200),
        );
      }
      await sh(`ls -ld ${path}; rm -rf ${path}; mv ${world.dir}/kept ${path}`);
    }
  });
}
