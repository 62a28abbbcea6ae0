// Sandboxes whose namespace an infra container holds, made by the real runc and catatonit.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { binaryTest, type BinaryWorld, isThere, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { CATATONIT, RUNC } from "./need.ts";
import { putRecord, recordFile } from "../stores.ts";

const KILLS = Number(Deno.env.get("PODWIRE_TEST_KILLS") ?? 4);
const env = { PATH: `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}` };
const ENDS_AT_ONCE =
  `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || { echo '{"code": 100, "msg": "no"}'; exit 1; }\n`;

/** What exists of a container: in runc, as a process, as cgroups. */
async function container(id: string): Promise<string[]> {
  const state = await sh(`${RUNC} state ${id} >/dev/null 2>&1 && echo state || :`);
  const processes = await sh(`grep -ls -e podwire-${id} /proc/[0-9]*/cgroup || :`);
  const groups = await sh(`find /sys/fs/cgroup -maxdepth 3 -name podwire-${id}`);
  return [state, processes, groups].flatMap((text) => text.split("\n")).filter((line) => line !== "");
}

async function assertNothing(world: BinaryWorld, ...ids: string[]): Promise<void> {
  // The process that adopted the container's process may take a moment to notice its end.
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

    // Without runc on the PATH the container is neither forgotten nor considered gone.
    const withoutRunc = await world.podwire(["rm", "web"]);
    assertEquals([withoutRunc.code, (await container(id)).length > 0], [6, true], withoutRunc.stderr);
    assertMatch(withoutRunc.stderr, /runc/);

    assertEquals(await world.done(["stop", "web"], { env }), "");
    await until("no container", async () => (await container(id)).length === 0);
    assertEquals(await isThere(`${world.stateDir}/infra/${id}`), false, "the bundle is gone");
    const stopped = await world.json(["inspect", "web"], { env });
    assertEquals({ state: stopped.state, pid: stopped.pid }, { state: "stopped", pid: null });
    await world.done(["rm", "web"], { env });
    await assertNothing(world, id);
  },
);

binaryTest(
  "an infra container that was killed makes its sandbox broken, which is reported, and recovery tears it down",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    const { pid, netns } = await world.json(["run", "--id", id, "--infra"], { env });
    Deno.kill(pid, "SIGKILL");
    await until("broken", async () => (await world.json(["inspect", id], { env })).state === "broken");
    const broken = await world.json(["inspect", id], { env });
    assertMatch(
      broken.reason,
      new RegExp(
        `^its infra container has ended: its process ${pid} is gone; runc says that its container is stopped`,
      ),
    );
    assertEquals(broken.pid, null);
    assertEquals((await world.json(["ps", "--filter", "state=broken"], { env })).length, 1);
    assertEquals(await world.json(["ps", "--filter", "state=ready"], { env }), []);
    const refused = await world.refused(1, ["exec", id, "--", "true"], { env });
    assertEquals(refused.kind, "conflict");
    assertMatch(
      refused.msg,
      new RegExp(`it is broken: its infra container has ended: its process ${pid} is gone`),
    );
    // The namespace has a path of its own, so that the plugins can still clean up.
    assertMatch(await sh(`nsenter --net=${netns} ip -br addr`), new RegExp(`${world.subnet4}.2/24`));
    const { removed, failed } = await world.json(["recover"], { env });
    assertEquals(failed, []);
    assertEquals(removed.map(({ kind }: { kind: string }) => kind), ["attachment", "sandbox"]);
    assertEquals((await world.json(["inspect", id], { env })).state, "stopped");
    await world.done(["rm", id], { env });
    await assertNothing(world, id);
  },
);

binaryTest(
  "an infra container that was deleted by hand makes its sandbox broken, which can be removed",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    await world.done(["run", "--id", id, "--infra"], { env });
    await sh(`${RUNC} delete --force ${id}`);
    const { state, reason } = await world.json(["inspect", id], { env });
    assertEquals(state, "broken");
    assertMatch(reason, /is gone; runc says: .*does not exist/);
    // Without runc everything else is still reported.
    assertMatch((await world.json(["inspect", id])).reason, /is gone; runc is not installed/);
    await world.done(["rm", id], { env });
    await assertNothing(world, id);
  },
);

binaryTest(
  "the network is torn down before the infra container, whose name is still known then",
  ["runc", "catatonit"],
  async (world) => {
    const id = world.id("web");
    const seen = `${world.dir}/seen`;
    await world.plugin(
      "watch",
      `#!/bin/sh
cat >/dev/null
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0"}'
[ "$CNI_COMMAND" != DEL ] || [ ! -e "/proc/$(cat ${world.stateDir}/infra/${id}/pid)" ] || echo there >>${seen}
`,
    );
    await world.list([{ type: "watch" }]);
    await world.done(["run", "web", "--id", id, "--uid", "u1", "--infra"], { env });
    const { annotations } = JSON.parse(await sh(`${RUNC} state ${id}`));
    assertEquals([annotations["podwire.sandbox.name"], annotations["podwire.sandbox.namespace"]], [
      "web",
      "default",
    ]);
    assertEquals(annotations["podwire.sandbox.uid"], "u1");
    await world.done(["rm", "web"], { env });
    assertEquals(await Deno.readTextFile(seen), "there\n");
    await assertNothing(world, id);
  },
);

binaryTest(
  "a sandbox whose OCI runtime is gone can be removed by force; recovery removes the rest",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    await world.done(["run", "web", "--id", id, "--infra"], { env });
    const { code, stderr } = await world.podwire(["rm", "-f", "web"]);
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /the OCI runtime "runc" is not installed/);
    assertEquals(await world.json(["ps"]), []);
    assert((await container(id)).includes("state"), "it was not asked to go");
    const without = JSON.parse((await world.podwire(["recover", "--json"])).stdout);
    assertEquals(without.failed.map(({ kind }: { kind: string }) => kind), ["container"]);
    assertEquals((await world.json(["recover"], { env })).failed, []);
    await assertNothing(world, id);
  },
);

binaryTest(
  "an infra container is removed with its sandbox also when the sandbox's record cannot be read",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const id = world.id("web");
    await world.done(["run", "web", "--id", id, "--infra"], { env });
    await putRecord(recordFile(world.stateDir, id), "sandbox", "no record");
    const { code, stderr } = await world.podwire(["rm", "web"], { env });
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /a record cannot be used, and is left as it is/);
    await assertNothing(world, id);
  },
);

/** An OCI runtime that hangs as long as a file exists. */
async function hangingRuntime(world: BinaryWorld): Promise<{ runtime: string; hang: string }> {
  const hang = `${world.dir}/hang`;
  const runtime = await world.plugin(
    "oci",
    `#!/bin/sh\nfor arg; do [ ! -e "${hang}-$arg" ] || exec sleep 600; done\nexec ${RUNC} "$@"\n`,
  );
  return { runtime, hang };
}

binaryTest(
  "the wait for an OCI runtime that hangs is bounded; its sandbox is broken until the container can be removed",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const { runtime, hang } = await hangingRuntime(world);
    const id = world.id("web");
    await world.done(["run", "web", "--id", id, "--infra", "--runtime", runtime], { env });
    await Deno.writeTextFile(`${hang}-delete`, "");
    const error = await world.refused(5, ["rm", "web", "--timeout", "DEL=3s"], { env });
    assertMatch(error.msg, /Cannot delete an infra container with ".*": it did not end within 3s/);
    const left = await world.json(["inspect", "web"], { env });
    assertEquals(left.state, "broken");
    assertMatch(
      left.reason,
      /Cannot delete an infra container .* within 3s; .* says that its container is running/,
    );
    assertEquals(left.networks, [], "the network is down");
    const stop = await world.podwire(["stop", "web", "--timeout", "DEL=3s"], { env });
    assertEquals(stop.code, 0);
    assertMatch(stop.stderr, /it did not end within 3s/);
    const { code, stdout } = await world.podwire(["recover", "--json", "--timeout", "DEL=3s"], { env });
    assertEquals({ code, failedCount: JSON.parse(stdout).failed.length }, { code: 1, failedCount: 1 });
    assertEquals((await world.json(["inspect", "web"], { env })).state, "broken");
    await Deno.remove(`${hang}-delete`);
    assertEquals((await world.json(["recover"], { env })).failed, []);
    const settled = await world.json(["inspect", "web"], { env });
    assertEquals({ state: settled.state, reason: settled.reason }, { state: "stopped", reason: undefined });
    await world.done(["rm", "web"], { env });
    await assertNothing(world, id);
  },
);

binaryTest(
  "a run whose OCI runtime hangs ends in time and leaves only what recovery removes",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const { runtime, hang } = await hangingRuntime(world);
    const run = (id: string) => ["run", "--id", id, "--infra", "--runtime", runtime, "--timeout=ADD=6s"];
    for (const verb of ["create", "start"]) {
      const id = world.id(verb);
      await Deno.writeTextFile(`${hang}-${verb}`, "");
      const error = await world.refused(5, run(id), { env });
      assertMatch(error.msg, new RegExp(`Cannot ${verb} an infra container .* within 6s`));
      await Deno.remove(`${hang}-${verb}`);
      await assertNothing(world, id);
    }
    // Then it hangs when the run is undone, too.
    const id = world.id("both");
    for (const verb of ["start", "delete"]) await Deno.writeTextFile(`${hang}-${verb}`, "");
    await world.refused(5, [...run(id), "--timeout=DEL=3s"], { env });
    assertEquals(await world.json(["ps"], { env }), []);
    for (const verb of ["start", "delete"]) await Deno.remove(`${hang}-${verb}`);
    assertEquals((await world.json(["recover"], { env })).failed, []);
    await assertNothing(world, id);
  },
);

binaryTest(
  "a run that is interrupted while its container is made removes the container",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const { runtime, hang } = await hangingRuntime(world);
    const id = world.id("web");
    await Deno.writeTextFile(`${hang}-start`, "");
    const child = world.start(["run", "--id", id, "--infra", "--runtime", runtime], { env });
    await until("created", async () => (await container(id)).includes("state"), 60_000);
    child.kill("SIGTERM");
    assertEquals((await child.output()).success, false);
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
    const noRuntime = await world.refused(6, run, { env: { PATH: `${dirname(CATATONIT)}:${SYSTEM_PATH}` } });
    assertMatch(noRuntime.msg, /the OCI runtime "runc" is not installed/);
    assertMatch(noRuntime.hint, /install runc, name another with --runtime, or leave --infra out/);
    await assertNothing(world, id);
    const noInit = await world.refused(6, run, { env: { PATH: `${dirname(RUNC)}:${SYSTEM_PATH}` } });
    assertMatch(noInit.msg, /catatonit is not installed/);
    await assertNothing(world, id);
    const wrong = await world.refused(6, [...run, "--runtime", "/no/such/runtime"], { env });
    assertMatch(wrong.msg, /"\/no\/such\/runtime" is not installed/);
    await assertNothing(world, id);
    const failing = await world.refused(1, [...run, "--runtime", "false"], { env });
    assertMatch(failing.msg, /Cannot create an infra container with "false": exit status 1/);
    await assertNothing(world, id);
  },
);

binaryTest(
  "a network that fails removes the infra container with it",
  ["runc", "catatonit"],
  async (world) => {
    await world.plugin("bad", ENDS_AT_ONCE);
    await world.list([world.bridgePlugin(), { type: "bad" }]);
    const id = world.id("web");
    const error = await world.refused(1, ["run", "--id", id, "--infra"], { env });
    assertEquals({ plugin: error.plugin, msg: error.msg }, { plugin: "bad", msg: "no" });
    await assertNothing(world, id);
  },
);

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
