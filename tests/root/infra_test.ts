// Sandboxes whose namespace an infra container holds, made by the real runc and catatonit.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { binaryTest, type BinaryWorld, isThere, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { CATATONIT, RUNC } from "./need.ts";

const KILLS = Number(Deno.env.get("PODWIRE_TEST_KILLS") ?? 6);
const env = { PATH: `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}` };
const ENDS_AT_ONCE =
  `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || { echo '{"code": 100, "msg": "no"}'; exit 1; }\n`;

/** What there is of a container: for runc, as a process, as cgroups. */
async function container(id: string): Promise<string[]> {
  const state = await sh(`${RUNC} state ${id} >/dev/null 2>&1 && echo state || :`);
  const processes = await sh(`grep -ls -e podwire-${id} /proc/[0-9]*/cgroup || :`);
  const groups = await sh(`find /sys/fs/cgroup -maxdepth 3 -name podwire-${id}`);
  return [state, processes, groups].flatMap((text) => text.split("\n")).filter((line) => line !== "");
}

async function assertNothing(world: BinaryWorld, ...ids: string[]): Promise<void> {
  // Whoever adopted the container's process may take a moment to notice its end.
  for (const id of ids) await until(`no container ${id}`, async () => (await container(id)).length === 0);
  assertEquals(await world.traces(), []);
}

binaryTest(
  "an infra container holds the namespace of its sandbox, from run to stop",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    const sandbox = await world.json(["run", "web", "--id", id, "--infra"], { env });
    assertEquals(await world.json(["ps"], { env }), [sandbox]);
    assertEquals(sandbox.ips, [`${world.subnet4}.2`, `${world.subnet6}::2`]);
    const { pid, netns } = sandbox;
    assertEquals((await Deno.stat(`/proc/${pid}/ns/net`)).ino, (await Deno.stat(netns)).ino);
    for (const kind of ["net", "pid", "ipc", "uts", "mnt"]) {
      assert(
        await Deno.readLink(`/proc/${pid}/ns/${kind}`) !== await Deno.readLink(`/proc/self/ns/${kind}`),
        kind,
      );
    }
    assertEquals(JSON.parse(await sh(`${RUNC} state ${id}`)).pid, pid);
    assertEquals(await sh(`nsenter --target=${pid} --uts hostname`), "web\n");
    assertMatch(await sh(`tr '\\0' ' ' </proc/${pid}/cmdline`), /^\/catatonit -P/);
    assertEquals(
      await sh(`grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/${pid}/status | cut -f2 | tr '\\n' ' '`),
      "0000000000000000 0000000000000000 1 ",
    );
    assertMatch(
      await world.done(["exec", "web", "--", "ip", "-br", "addr"], { env }),
      new RegExp(`lo +UNKNOWN(.|\n)*eth0@.*${world.subnet4}.2/24`),
    );

    // Without runc on the PATH the container is neither forgotten nor taken for gone.
    const withoutRunc = await world.podwire(["rm", "web"]);
    assertEquals([withoutRunc.code, (await container(id)).length > 0], [3, true], withoutRunc.stderr);
    assertMatch(withoutRunc.stderr, /runc/);

    assertEquals(await world.done(["stop", "web"], { env }), "");
    await until("no container", async () => (await container(id)).length === 0);
    assertEquals(await isThere(`${world.stateDir}/infra/${id}`), false, "the bundle is gone");
    const stopped = await world.json(["inspect", "web"], { env });
    assertEquals([stopped.state, stopped.pid], ["stopped", null]);
    await world.done(["rm", "web"], { env });
    await assertNothing(world, id);
  },
);

binaryTest(
  "the namespace outlives an infra container that was killed from outside",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    const { pid } = await world.json(["run", "--id", id, "--infra"], { env });
    Deno.kill(pid, "SIGKILL");
    assertMatch(
      await world.done(["exec", id, "--", "ip", "-br", "addr"], { env }),
      new RegExp(`${world.subnet4}.2/24`),
    );
    await world.done(["rm", id], { env });
    await assertNothing(world, id);
  },
);

binaryTest("the OCI runtime can be named, by its path too", ["runc", "catatonit"], async (world) => {
  await world.list([world.bridgePlugin()]);
  const id = world.id("web");
  const only = { env: { PATH: `${dirname(CATATONIT)}:${SYSTEM_PATH}` } };
  await world.done(["run", "--id", id, "--infra", "--runtime", RUNC], only);
  assert((await container(id)).includes("state"));
  await world.done(["rm", id], only);
  await assertNothing(world, id);
});

binaryTest(
  "what is missing for an infra container is named, and nothing is left",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    const run = ["run", "--id", id, "--infra"];
    const noRuntime = await world.refused(3, run, { env: { PATH: `${dirname(CATATONIT)}:${SYSTEM_PATH}` } });
    assertMatch(noRuntime.msg, /the OCI runtime "runc" is not installed/);
    assertMatch(noRuntime.hint, /install runc, name another with --runtime, or leave --infra out/);
    await assertNothing(world, id);
    const noInit = await world.refused(3, run, { env: { PATH: `${dirname(RUNC)}:${SYSTEM_PATH}` } });
    assertMatch(noInit.msg, /catatonit is not installed/);
    await assertNothing(world, id);
    const wrong = await world.refused(3, [...run, "--runtime", "/no/such/runtime"], { env });
    assertMatch(wrong.msg, /"\/no\/such\/runtime" is not installed/);
    await assertNothing(world, id);
    const failing = await world.refused(1, [...run, "--runtime", "false"], { env });
    assertMatch(failing.msg, /Cannot create an infra container with "false": exit status 1/);
    await assertNothing(world, id);
  },
);

binaryTest("a network that fails takes the infra container with it", ["runc", "catatonit"], async (world) => {
  await world.plugin("bad", ENDS_AT_ONCE);
  await world.list([world.bridgePlugin(), { type: "bad" }]);
  const id = world.id("web");
  const error = await world.refused(1, ["run", "--id", id, "--infra"], { env });
  assertEquals([error.plugin, error.msg], ["bad", "no"]);
  await assertNothing(world, id);
});

binaryTest(
  "kill -9 of run --infra leaves no container, no bundle and no process",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const started = performance.now();
    await world.done(["run", "--id", world.id("whole"), "--infra"], { env });
    const duration = performance.now() - started;
    await world.done(["rm", world.id("whole")], { env });
    for (let kill = 0; kill < KILLS; kill++) {
      const id = world.id(`k${kill}`);
      const child = world.start(["run", "--id", id, "--infra"], { env });
      await new Promise((resolve) => setTimeout(resolve, duration * (kill + Math.random()) / KILLS));
      try {
        child.kill("SIGKILL");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
      }
      await child.output();
      assertEquals((await world.json(["recover"], { env })).failed, [], `kill ${kill}`);
      await world.done(["rm", "-f", id], { env });
      await assertNothing(world, id);
    }
  },
);
