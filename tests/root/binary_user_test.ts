// An ordinary user: every command that needs root says so in one line, exits 4 and changes nothing.
import { assertEquals, assertMatch } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { binaryTest, type BinaryWorld, sh, SYSTEM_PATH } from "./binary_world.ts";
import { PODWIRE_BINARY } from "./need.ts";

const UNPRIVILEGED = "65534";

/** Lets an unprivileged user reach the program, and returns what runs it as that user. */
async function asUser(world: BinaryWorld) {
  await Deno.chmod(world.dir, 0o755);
  const program = `${world.dir}/podwire`;
  await Deno.copyFile(PODWIRE_BINARY, program);
  await Deno.chmod(program, 0o755);
  return (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    runCommand({
      program: "setpriv",
      args: [
        "--reuid",
        UNPRIVILEGED,
        "--regid",
        UNPRIVILEGED,
        "--clear-groups",
        program,
        ...world.dirs,
        ...args,
      ],
      env: { PATH: SYSTEM_PATH, ...env },
    });
}

/** Everything in the world's directory with owner, mode, size and time. */
const photograph = (world: BinaryWorld) => sh(`find ${world.dir} -printf '%p %U %m %s %T@\\n' | sort`);

binaryTest(
  "an ordinary user gets one line that says that root is missing, and nothing changes",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    await world.done(["run", "web", "--id", world.id("web")]);
    const podwire = await asUser(world);
    const before = await photograph(world);
    const commands: readonly (readonly string[])[] = [
      ["run", "mine"],
      ["run", "mine", "--network", "absent"],
      ["stop", "web"],
      ["rm", "web"],
      ["rm", "-f", "web"],
      ["exec", "web", "true"],
      ["recover"],
      ["demo"],
      ["add", world.network, "/run/netns/absent"],
      ["check", world.network, "/run/netns/absent"],
      ["del", world.network, "/run/netns/absent"],
    ];
    for (const args of commands) {
      const { code, stdout, stderr } = await podwire(args);
      assertEquals({ args, code, stdout }, { args, code: 4, stdout: "" });
      assertEquals(stderr, `podwire: ${args[0]} needs root: it changes network namespaces\n`);
    }
    for (const args of [["ps"], ["inspect", "web"], ["attachments"]]) {
      const { code, stdout, stderr } = await podwire(args);
      assertEquals({ args, code, stdout }, { args, code: 4, stdout: "" });
      assertMatch(stderr, new RegExp(`^podwire: .*'${world.stateDir}/[^']*'.*: run as root\n$`));
      const json = await podwire([...args, "--json"]);
      const error = JSON.parse(json.stderr);
      assertEquals({ code: json.code, stdout: json.stdout, kind: error.kind, hint: error.hint }, {
        code: 4,
        stdout: "",
        kind: "permission",
        hint: "run as root",
      });
    }
    assertEquals(await photograph(world), before);
    assertEquals((await world.json(["inspect", "web"])).state, "ready");
    await world.done(["rm", "web"]);
    assertEquals(await world.traces(), []);
  },
);

binaryTest("an ordinary user can run the commands that need no root", [], async (world) => {
  await world.list([world.bridgePlugin()]);
  const podwire = await asUser(world);
  for (const args of [["--version"], ["--help"], ["run", "--help"], ["networks"], ["completion", "bash"]]) {
    const { code, stderr } = await podwire(args, { PATH: `/root/bin:${SYSTEM_PATH}` });
    assertEquals({ args, code, stderr }, { args, code: 0, stderr: "" });
  }
  const { code, stdout } = await podwire(["ps", "--json"]);
  assertEquals({ code, parse: JSON.parse(stdout) }, { code: 0, parse: [] });
});

binaryTest(
  "root without network capabilities, as in many containers, gets a clear error, and nothing is left",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const podwire = [PODWIRE_BINARY, ...world.dirs, "run", "web", "--id", world.id("web")];
    const { code, stdout, stderr } = await runCommand({
      program: "setpriv",
      args: ["--bounding-set=-net_admin,-sys_admin", ...podwire],
    });
    assertEquals({ code, stdout }, { code: 4, stdout: "" });
    assertMatch(stderr, /^podwire: [^\n]*: run as root\n$/);
    assertEquals(await world.traces(), []);
  },
);
