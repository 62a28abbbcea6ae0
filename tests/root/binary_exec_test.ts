// `podwire exec` behaves like the command that it runs: exit code, streams, signals, environment.
import { assertEquals, assertMatch } from "@std/assert";
import { binaryTest, type BinaryWorld, until } from "./binary_world.ts";
import { assertLeavesCtrlC } from "./typed_ctrl_c.ts";

/** A sandbox without any network: exec needs only the namespace. */
async function sandbox(world: BinaryWorld): Promise<void> {
  await world.plugin(
    "nothing",
    `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || echo '{"dns": {}}'\n`,
  );
  await world.list([{ type: "nothing" }]);
  await world.done(["run", "box"]);
}

binaryTest("exec returns the exit code of the command", [], async (world) => {
  await sandbox(world);
  for (const code of [0, 1, 3, 42, 255]) {
    assertEquals((await world.podwire(["exec", "box", "--", "sh", "-c", `exit ${code}`])).code, code);
  }
  assertEquals((await world.podwire(["exec", "box", "--", "sh", "-c", "kill -KILL $$"])).code, 137);
  const missing = await world.podwire(["exec", "box", "no-such-program"]);
  assertEquals({ code: missing.code, stdout: missing.stdout }, { code: 127, stdout: "" });
  assertMatch(missing.stderr, /no-such-program/);
});

binaryTest(
  "exec passes the streams through byte by byte, and the arguments unchanged",
  [],
  async (world) => {
    await sandbox(world);
    const script = "{ printf 'a\\0b\\377' && cat && echo to-stderr >&2; }";
    const { stdout, stderr, code } = await world.podwire([
      "exec",
      "box",
      "--",
      "sh",
      "-c",
      `${script} | od -An -c`,
    ], { stdin: "in\n" });
    assertEquals({ code, stderr }, { code: 0, stderr: "to-stderr\n" });
    assertEquals(stdout.replaceAll(/\s+/g, " ").trim(), "a \\0 b 377 i n \\n");
    const echo = ["sh", "-c", 'for a; do printf "<%s>" "$a"; done', "sh", "--json", "-x", "--", "a b", ""];
    assertEquals((await world.podwire(["exec", "box", ...echo])).stdout, "<--json><-x><--><a b><>");
    assertEquals((await world.podwire(["exec", "box", "--", ...echo])).stdout, "<--json><-x><--><a b><>");
  },
);

binaryTest(
  "exec gives the command the environment and the working directory of its caller",
  [],
  async (world) => {
    await sandbox(world);
    const { stdout } = await world.podwire(["exec", "box", "--", "sh", "-c", "echo $SECRET; pwd"], {
      env: { SECRET: "s" },
    });
    assertEquals(stdout, `s\n${Deno.cwd()}\n`);
  },
);

binaryTest("exec runs the command inside the namespace and nowhere else", [], async (world) => {
  await sandbox(world);
  const { netns } = await world.json(["inspect", "box"]);
  const inside = await world.done(["exec", "box", "--", "stat", "-Lc", "%i", "/proc/self/ns/net"]);
  assertEquals(inside.trim(), String((await Deno.stat(netns)).ino));
});

binaryTest("exec passes signals to the command, which decides how to react", [], async (world) => {
  await sandbox(world);
  for (const [signal, number] of [["TERM", 15], ["HUP", 1], ["QUIT", 3]] as const) {
    const mark = `${world.dir}/${signal}`;
    const script = `trap 'exit ${number + 40}' ${signal}; echo >${mark}; while :; do sleep 0.02; done`;
    const child = world.start(["exec", "box", "--", "sh", "-c", script]);
    await until("the command runs", () => Deno.stat(mark).then(() => true, () => false));
    child.kill(`SIG${signal}`);
    assertEquals((await child.output()).code, number + 40, signal);
  }
  const child = world.start(["exec", "box", "--", "sh", "-c", `echo >${world.dir}/mark; exec sleep 600`]);
  await until("the command runs", () => Deno.stat(`${world.dir}/mark`).then(() => true, () => false));
  child.kill("SIGTERM");
  assertEquals((await child.output()).code, 143, "one that does not care dies of it");
  await until("no process is left", async () => (await world.processes()).length === 0);
});

binaryTest("exec leaves Ctrl-C to the command", [], async (world) => {
  await sandbox(world);
  await assertLeavesCtrlC(world);
});

binaryTest("exec returns the code of a command that ends right after a Ctrl-C", [], async (world) => {
  await sandbox(world);
  // Deno looks at signals in a thread of its own, which may come last.
  for (let round = 0; round < 12; round++) {
    const { code } = await world.podwire(["exec", "box", "--", "sh", "-c", "kill -INT $PPID; exit 7"]);
    assertEquals(code, 7, `round ${round}`);
  }
});
