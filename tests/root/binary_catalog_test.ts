// One process knows what another one has read of the configuration directory.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { binaryTest, SYSTEM_PATH } from "./binary_world.ts";
import { PODWIRE_BINARY } from "./need.ts";

binaryTest(
  "F42 a file that was truncated since is used as it was, by run too; a user who may not know that sees a bad file",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    await world.done(["run", "one", "--id", world.id("one")]);
    const file = `${world.confDir}/${world.network}.conflist`;
    await Deno.writeTextFile(file, "");
    const second = await world.podwire(["run", "two", "--id", world.id("two")]);
    assertEquals(second.code, 0, second.stderr);
    assertMatch(second.stderr, /a configuration file cannot be used, its content since .* stays in use: /);
    const { stdout } = await world.podwire(["networks", "--json"]);
    const [entry] = JSON.parse(stdout);
    assertEquals([entry.name, entry.status, entry.default], [world.network, "stale", true]);

    await Deno.chmod(world.dir, 0o755);
    const program = `${world.dir}/podwire`;
    await Deno.copyFile(PODWIRE_BINARY, program);
    await Deno.chmod(program, 0o755);
    const args = [
      "--reuid",
      "65534",
      "--regid",
      "65534",
      "--clear-groups",
      program,
      ...world.dirs,
      "networks",
      "--json",
    ];
    const ordinary = await runCommand({ program: "setpriv", args, env: { PATH: SYSTEM_PATH } });
    assertEquals({ code: ordinary.code, stderr: ordinary.stderr }, { code: 0, stderr: "" });
    assertEquals(JSON.parse(ordinary.stdout).map(({ status }: { status: string }) => status), ["rejected"]);

    // Containers are attached: without the file there is no default, rather than another one.
    await world.conf(
      "99-other.conflist",
      JSON.stringify({ cniVersion: "1.0.0", name: "other", plugins: [{ type: "x" }] }),
    );
    await Deno.remove(file);
    const third = await world.refused(6, ["run", "three", "--id", world.id("three")]);
    assert(third.msg.includes(`the file of the default network "${world.network}" is gone`), third.msg);
    for (const name of ["one", "two"]) await world.done(["rm", name]);
    assertEquals(await world.traces(), []);
  },
);
