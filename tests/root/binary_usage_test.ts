// Common problems of users: no space for the result, directories of the kernel, a deleted working directory,
// a PATH without sbin. Each ends with its exit code and a line that says why.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { binaryTest, type BinaryWorld, sh } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";
import { CNI_1_1_1, CNI_1_9_1, PODWIRE_BINARY } from "./need.ts";

/** Runs the program through a shell, with the world's directories. */
function byShell(world: BinaryWorld, script: string, env: Readonly<Record<string, string>> = {}) {
  return runCommand({
    program: "/bin/bash",
    args: ["-c", script, "bash", PODWIRE_BINARY, ...world.dirs],
    env: { PATH: "/usr/bin:/bin", ...env },
  });
}

binaryTest(
  "a result that cannot be written is an error, and what was made for it is undone",
  [],
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    const commands = [
      "--version",
      "--help",
      "run --help",
      "ps",
      "ps --json",
      "networks",
      "status",
      "attachments",
      "completion bash",
      "serve --print-unit",
      "oci-hook config",
      `run web --id ${world.id("web")}`,
    ];
    for (const command of commands) {
      const { code, stderr } = await byShell(world, `"$@" ${command} >/dev/full`);
      assertEquals(code, 1, `${command}: ${stderr}`);
      const line = stderr.startsWith("{") ? JSON.parse(stderr).msg : stderr;
      assertMatch(
        line,
        /^(podwire: )?Cannot write the result to standard output: No space left on device/,
        command,
      );
      assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
    }
    // If no message can be written at all, the exit code remains.
    for (const [command, code] of [["ps", 1], ["nosuch", 2], ["inspect absent", 3]] as const) {
      assertEquals((await byShell(world, `"$@" ${command} >/dev/full 2>&1`)).code, code, command);
    }
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "a directory of the kernel is named, and no permission that the program cannot have",
  [],
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    const options = ["state-dir", "cache-dir", "netns-dir", "conf-dir"];
    const run = ["run", "web"];
    const others = [["ps"], ["status"], ["gc"], ["rm", "-f", "web"], ["forget", "c1", "--reason=x"]];
    const calls = options.flatMap((option) => [
      ...["/proc/foo", "/sys/foo", "/dev/full/x"].map((dir) => ({ option, dir, args: run })),
      ...others.map((args) => ({ option, dir: "/proc/foo", args })),
    ]);
    for (const { option, dir, args } of calls) {
      // The last of a global option counts.
      const { code, stderr } = await world.podwire([...args, `--${option}=${dir}`]);
      const about = `${args[0]} --${option}=${dir}: ${code} ${stderr}`;
      assertEquals(/allow-all|run again|panicked|internal|\bat file:|code 999/.test(stderr), false, about);
      const errors = stderr.split("\n").filter((line) => line.startsWith("podwire: "));
      assertEquals(errors.length <= 1, true, about);
      if (args !== run) continue;
      assertEquals([1, 3, 4].includes(code), true, about);
      assertStringIncludes(stderr, dir, about);
    }
    assertEquals(await leftIn(world), []);
  },
);

binaryTest("a deleted working directory is one plain line without a back trace", [], async (world) => {
  for (const command of ["--version", "ps", "run web"]) {
    const { code, stdout, stderr } = await byShell(
      world,
      `mkdir ${world.dir}/gone && cd ${world.dir}/gone && rmdir ../gone && "$@" ${command}`,
      { NO_COLOR: "1" },
    );
    // The base binary says it, before any code of podwire runs.
    assertEquals({ command, code, stdout }, { command, code: 1, stdout: "" });
    assertEquals(stderr, "error: No such file or directory (os error 2)\n");
  }
  assertEquals(await world.traces(), []);
});

for (
  const [plugins, needs, options] of [
    ["built in", [], ["--builtin=prefer"]],
    ["of 1.1.1", ["cni-1.1.1"], [`--plugin-dir=${CNI_1_1_1}`, "--builtin=off"]],
    ["of 1.9.1", ["cni-1.9.1"], [`--plugin-dir=${CNI_1_9_1}`, "--builtin=off"]],
  ] as const
) {
  binaryTest(
    `plugins ${plugins} find nft and iptables with a PATH that lacks sbin`,
    ["nft", "iptables", ...needs],
    async (world) => {
      await world.list([
        world.bridgePlugin(),
        ...(options[0] === "--builtin=prefer"
          ? []
          : [{ type: "portmap", capabilities: { portMappings: true } }]),
      ]);
      const rules = () => sh(`(nft list ruleset; iptables-save) 2>/dev/null | grep -F ${world.network} || :`);
      for (const [index, path] of ["/usr/bin:/bin", "/nonexistent", "", "."].entries()) {
        const id = world.id(`web${index}`);
        const call = { env: { PATH: path } };
        const ports = options[0] === "--builtin=prefer" ? [] : ["--publish=18099:80"];
        await world.done(["run", "web", "--id", id, ...ports, ...options], call);
        assertStringIncludes(await rules(), id, `PATH=${path}`);
        await world.done(["rm", "web", ...options], call);
        assertEquals(await rules(), "", `PATH=${path}`);
      }
      assertEquals(await world.traces(), []);
    },
  );
}
