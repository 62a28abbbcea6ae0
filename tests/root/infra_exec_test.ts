// Programs in the namespaces of an infra container, by the binary.
import { dirname } from "@std/path";
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { binaryTest, type BinaryWorld, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { CATATONIT, RUNC } from "./need.ts";
import { ownMounts } from "./own_mounts.ts";
import { assertLeavesCtrlC } from "./typed_ctrl_c.ts";

const env = { PATH: `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}` };

/** Makes the sandbox "box", and returns the process of its infra container. */
async function box(world: BinaryWorld): Promise<number> {
  await world.plugin(
    "nothing",
    `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || echo '{"dns": {}}'\n`,
  );
  await world.list([{ type: "nothing" }]);
  return (await world.json(["run", "box", "--infra"], { env })).pid;
}

const inside = (world: BinaryWorld, script: string) =>
  world.podwire(["exec", "box", "--", "sh", "-c", script], { env });

binaryTest("exec enters the namespaces of the infra container, with the programs of the host", [
  "runc",
  "catatonit",
], async (world) => {
  const pid = await box(world);
  const before = await ownMounts(world.dir);
  for (const kind of ["net", "ipc", "uts", "pid"]) {
    const { stdout } = await inside(world, `readlink /proc/self/ns/${kind}`);
    assertEquals(stdout.trim(), await Deno.readLink(`/proc/${pid}/ns/${kind}`), kind);
  }
  const { stdout: own } = await inside(world, "readlink /proc/self/ns/mnt");
  for (const other of ["self", pid]) {
    assertNotEquals(own.trim(), await Deno.readLink(`/proc/${other}/ns/mnt`));
  }
  assertEquals(
    (await inside(world, "hostname; tr '\\0' ' ' </proc/1/cmdline")).stdout,
    "box\n/catatonit -P ",
  );
  assertMatch((await inside(world, "cat /etc/hosts")).stdout, /podwire made this file/);
  assertEquals(await ownMounts(world.dir), before);
  // With its files there is nothing but its one program.
  const ownProgram = await world.podwire(["exec", "--infra", "box", "--", "/catatonit", "--version"], {
    env,
  });
  assertEquals(ownProgram.code, 0, ownProgram.stderr);
  assertMatch(ownProgram.stdout, /catatonit/);
  assertEquals(
    (await world.podwire(["exec", "--infra", "box", "--", "sh", "-c", "exit 0"], { env })).code,
    127,
  );
});

binaryTest(
  "exec into an infra container passes exit codes and signals on",
  ["runc", "catatonit"],
  async (world) => {
    await box(world);
    for (const code of [0, 1, 42, 255]) assertEquals((await inside(world, `exit ${code}`)).code, code);
    assertEquals((await inside(world, "kill -KILL $$")).code, 137);
    assertEquals((await world.podwire(["exec", "box", "no-such-program"], { env })).code, 127);
    for (const [signal, number] of [["TERM", 15], ["HUP", 1], ["QUIT", 3]] as const) {
      const mark = `${world.dir}/${signal}`;
      const script = `trap 'exit ${number + 40}' ${signal}; echo >${mark}; while :; do sleep 0.02; done`;
      const child = world.start(["exec", "box", "--", "sh", "-c", script], { env });
      await until("the command runs", () => Deno.stat(mark).then(() => true, () => false));
      child.kill(`SIG${signal}`);
      assertEquals((await child.output()).code, number + 40, signal);
    }
    const child = world.start(["exec", "box", "--", "sh", "-c", `echo >${world.dir}/mark; exec sleep 602`], {
      env,
    });
    await until("the command runs", () => Deno.stat(`${world.dir}/mark`).then(() => true, () => false));
    child.kill("SIGTERM");
    assertEquals((await child.output()).code, 143, "one that does not care dies of it");
    await until("no process is left", async () => (await sh("pgrep -xf 'sleep 602' || :")) === "");
  },
);

binaryTest(
  "exec into an infra container leaves Ctrl-C to the command",
  ["runc", "catatonit"],
  async (world) => {
    await box(world);
    await assertLeavesCtrlC(world);
  },
);
