// Containers of the real runc that get their networks from the hook, by their annotations.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { binaryTest, type BinaryWorld, sh, until, withoutWaiting } from "./binary_world.ts";
import { BUSYBOX, CNI_1_9_1 } from "./need.ts";
import { Container } from "./oci_container.ts";

function hookTest(name: string, fn: (world: BinaryWorld) => Promise<void>): void {
  binaryTest(name, ["runc", "busybox"], fn);
}

hookTest("a container of runc gets its networks by annotations and loses them at its end", async (world) => {
  await world.list([world.bridgePlugin()]);
  await using container = await new Container(world, "web").bundled({
    annotations: {
      "podwire.networks": `${world.network}:net0,ip=${world.subnet4}.77`,
      "podwire.name": "shop",
    },
    rules: ["--allow-annotation=ip", "--allow-annotation=name"],
    script: `ip -o addr show net0; ip -o addr show lo; ping -c 1 -W 5 ${world.subnet4}.1`,
  });
  const { code, stdout, stderr } = await container.run();
  assertEquals(code, 0, stderr);
  assertMatch(stdout, new RegExp(`inet ${world.subnet4}\\.77/24`));
  assertMatch(stdout, /inet6 ::1\/128/);
  assertMatch(stdout, /1 packets received, 0% packet loss/);
  assertEquals(await world.traces(), []);
});

hookTest("a container is a sandbox like others while it runs", async (world) => {
  await world.list([world.bridgePlugin()]);
  await using container = await new Container(world, "web").bundled({
    annotations: { "podwire.networks": "default" },
    script: "exec sleep 600",
  });
  const { code, stderr } = await container.runc("create", container.id);
  assertEquals(code, 0, stderr);
  const [sandbox] = await world.json(["ps"]);
  assertEquals({ id: sandbox.id, name: sandbox.name, state: sandbox.state }, {
    id: container.id,
    name: container.id,
    state: "ready",
  });
  assertEquals(sandbox.labels, { "podwire.oci-bundle": container.bundle });
  assertEquals(sandbox.ips, [`${world.subnet4}.2`, `${world.subnet6}::2`]);
  assertEquals((await container.runc("start", container.id)).code, 0);
  assertEquals(await sh(`${BUSYBOX} ping -c 1 -W 5 ${world.subnet4}.2 >/dev/null && echo there`), "there\n");
  // What has no owner is removed; this has an owner.
  await world.done(["recover"]);
  await world.done(["gc"]);
  assertEquals((await world.json(["ps"])).length, 1);
  assertEquals(sandbox.pid, (await container.state())?.pid);
  await sh(`kill -9 ${sandbox.pid}`);
  await until("the container stops", async () => (await container.state())?.status === "stopped");
  assertEquals((await container.runc("delete", container.id)).code, 0);
  assertEquals(await world.traces(), []);
});

binaryTest(
  "ports that an annotation publishes lead into the container",
  ["runc", "busybox", "cni-1.9.1", "iptables"],
  async (world) => {
    await Deno.mkdir(world.pluginDir, { recursive: true });
    await Deno.symlink(`${CNI_1_9_1}/portmap`, `${world.pluginDir}/portmap`);
    await world.list([world.bridgePlugin(), { type: "portmap", capabilities: { portMappings: true } }]);
    const port = 20_000 + crypto.getRandomValues(new Uint16Array(1))[0]! % 20_000;
    await using container = await new Container(world, "web").bundled({
      annotations: { "podwire.networks": world.network, "podwire.ports": `${port}:8080` },
      rules: [`--allow-host-ports=20000-${port}`],
      script: "while :; do echo hello | nc -l -p 8080; done",
    });
    const created = await container.runc("create", container.id);
    assertEquals({ code: created.code, withoutWaiting: withoutWaiting(created.stderr) }, {
      code: 0,
      withoutWaiting: "",
    });
    assertEquals((await container.runc("start", container.id)).code, 0);
    await until("the published port answers", async () => {
      const answer = await sh(`${BUSYBOX} nc -w 2 ${world.subnet4}.1 ${port} </dev/null || :`);
      return answer === "hello\n";
    });
    const deleted = await container.runc("delete", "--force", container.id);
    assertEquals(
      { code: deleted.code, traces: await world.traces() },
      { code: 0, traces: [] },
      deleted.stderr,
    );
  },
);

hookTest("a container takes the place of one with the same ID whose end was not reported", async (world) => {
  await world.list([world.bridgePlugin()]);
  await using container = await new Container(world, "web").bundled({
    annotations: { "podwire.networks": "" },
    script: "exec sleep 600",
  });
  assertEquals((await container.runc("create", container.id)).code, 0);
  const pid = (await container.state())?.pid;
  await sh(`kill -9 ${pid}; rm -rf /run/runc/${container.id}`);
  await until("the process is gone", async () => (await world.json(["ps"]))[0]?.pid === null);
  const again = await container.runc("create", container.id);
  assertEquals(again.code, 0, again.stderr);
  const all = await world.json(["ps"]);
  assertEquals(all.map(({ id, state }: Record<string, unknown>) => [id, state]), [[container.id, "ready"]]);
  assertEquals(all[0].pid, (await container.state())?.pid);
  assertEquals((await container.runc("delete", "--force", container.id)).code, 0);
  assertEquals(await world.traces(), []);
});

hookTest(
  "a network that fails makes runc run fail, reports the reason in one line, and leaves nothing",
  async (world) => {
    await world.plugin(
      "bad",
      `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || { echo '{"code": 100, "msg": "no room"}'; exit 1; }\n`,
    );
    await world.list([world.bridgePlugin(), { type: "bad" }]);
    await using container = await new Container(world, "web").bundled({
      annotations: { "podwire.networks": world.network },
      script: "echo it runs",
    });
    const failed = await container.run();
    assert(failed.code !== 0);
    assertEquals(failed.stdout, "");
    assertMatch(failed.stderr, /hook #0: .*stderr: podwire: Cannot ADD network .*no room/);
    assertEquals(await world.traces(), []);
    const wrong = await new Container(world, "wrong").bundled({
      annotations: { "podwire.networks": world.network, "podwire.port": "80:80" },
      script: "echo it runs",
    });
    const refused = await wrong.run();
    assertMatch(refused.stderr, /unknown annotation podwire\.port; hint: there are podwire\.networks/);
    assertEquals([refused.code === 0, await world.traces()], [false, []]);
  },
);

hookTest("the next hook tears down what a hook leaves that its runtime killed", async (world) => {
  await world.plugin(
    "slow",
    `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || exec sleep 600\n`,
  );
  await world.list([world.bridgePlugin(), { type: "slow" }]);
  await using container = await new Container(world, "web").bundled({
    annotations: { "podwire.networks": world.network },
    script: "echo it runs",
    timeout: 15,
  });
  const killed = await container.run();
  assertEquals([killed.code === 0, killed.stdout], [false, ""], killed.stderr);
  // runc calls poststop for it: that also ends the plugin that the hook waited for.
  assertEquals(await world.json(["ps"]), []);
  assertEquals(await world.traces(), []);
});

hookTest(
  "a container without annotations, and one in the host's namespace, are distinguished",
  async (world) => {
    await world.list([world.bridgePlugin()]);
    await using plain = await new Container(world, "plain").bundled({
      script: "ip -o link | wc -l; echo ran",
    });
    const { code, stdout } = await plain.run();
    assertEquals({ code, trimEnd: stdout.trimEnd().split("\n").at(-1) }, { code: 0, trimEnd: "ran" });
    await using host = await new Container(world, "host").bundled({
      annotations: { "podwire.networks": "" },
      script: "echo ran",
      ownNetwork: false,
    });
    const refused = await host.run();
    assertMatch(refused.stderr, /host's own network namespace/);
    assertEquals([refused.code === 0, refused.stdout, await world.traces()], [false, "", []]);
  },
);

hookTest(
  "what cannot be torn down does not keep runc from deleting, stays on record and is retried",
  async (world) => {
    const flag = `${world.dir}/stuck`;
    await world.plugin(
      "stuck",
      `#!/bin/sh\ncat\n[ "$CNI_COMMAND" != DEL ] || [ ! -e ${flag} ] || { echo '{"code": 100, "msg": "will not"}'; exit 1; }\n`
        .replace(
          "cat\n",
          `[ "$CNI_COMMAND" = ADD ] && { sed 's/.*"prevResult":\\(.*\\)}$/\\1/'; exit; }; cat >/dev/null\n`,
        ),
    );
    await world.list([world.bridgePlugin(), { type: "stuck" }]);
    await using container = await new Container(world, "web").bundled({
      annotations: { "podwire.networks": world.network },
      script: "exec sleep 600",
    });
    const created = await container.runc("create", container.id);
    assertEquals(created.code, 0, created.stderr);
    await Deno.writeTextFile(flag, "");
    const deleted = await container.runc("delete", "--force", container.id);
    assertEquals(
      { code: deleted.code, state: await container.state() },
      { code: 0, state: undefined },
      deleted.stderr,
    );
    assertEquals(await world.json(["ps"]), []);
    const [attachment] = await world.json(["attachments"]);
    assertEquals(
      { containerId: attachment.containerId, state: attachment.state, msg: attachment.error.msg },
      { containerId: container.id, state: "failed", msg: "will not" },
    );
    await Deno.remove(flag);
    await world.done(["recover"]);
    assertEquals(await world.traces(), []);
  },
);

hookTest("poststop ends in time whatever a plugin does, and recovery does the rest", async (world) => {
  const flag = `${world.dir}/hang`;
  await world.plugin(
    "slow",
    `#!/bin/sh
[ "$CNI_COMMAND" = ADD ] && { sed 's/.*"prevResult":\\(.*\\)}$/\\1/'; exit; }
cat >/dev/null
[ "$CNI_COMMAND" != DEL ] || [ ! -e ${flag} ] || sleep 600
`,
  );
  await world.list([world.bridgePlugin(), { type: "slow" }]);
  await using container = await new Container(world, "web").bundled({
    annotations: { "podwire.networks": world.network },
    script: "exec sleep 600",
  });
  const created = await container.runc("create", container.id);
  assertEquals(created.code, 0, created.stderr);
  await Deno.writeTextFile(flag, "");
  const stdin = JSON.stringify({ ociVersion: "1.0.2", id: container.id, status: "stopped", bundle: "/b" });
  const { code, stdout, stderr, elapsedMs } = await world.podwire(
    ["oci-hook", "poststop", "--limit=2s"],
    { stdin },
  );
  assertEquals({ code, stdout }, { code: 0, stdout: "" });
  assertMatch(stderr, /^[^\n]*time limit of the caller has expired[^\n]*\n$/);
  assert(elapsedMs < 120_000, `${elapsedMs} ms`);
  assertEquals((await world.json(["ps"])).length, 1, "it is still known");
  await Deno.remove(flag);
  assertEquals((await world.json(["recover"])).failed, []);
  assertEquals((await container.runc("delete", "--force", container.id)).code, 0);
  assertEquals(await world.traces(), []);
});

hookTest("poststop leaves alone a sandbox that only has the container's name", async (world) => {
  await world.list([world.bridgePlugin()]);
  await world.done(["run", "web", "--id", world.id("other")]);
  const poststop = async (id: string) => {
    const stdin = JSON.stringify({ ociVersion: "1.0.2", id, status: "stopped", bundle: "/b" });
    const { code, stdout, stderr } = await world.podwire(["oci-hook", "poststop"], { stdin });
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
  };
  for (const id of ["web", world.id("other"), world.id("other").slice(0, 8), "gone", "+odd"]) {
    await poststop(id);
  }
  assertEquals((await world.json(["ps"])).length, 1);
  await world.done(["rm", "web"]);
  assertEquals(await world.traces(), []);
});
