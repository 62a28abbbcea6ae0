// A value with "=" in the CNI arguments: plugins refuse all arguments because of it, so podwire refuses it
// first, in every interface.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { runCommand } from "../../lib/host/command.ts";
import { createNetns } from "../../lib/host/netns.ts";
import { binaryTest, sh, SYSTEM_PATH } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";
import { CNI_1_1_1, CNI_1_9_1, need } from "./need.ts";
import { sandboxTest } from "./sandbox_world.ts";

/** Records its ADD. */
const GOOD = `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) touch "$0.ran"; echo '{"cniVersion": "1.0.0"}' ;;
esac
`;
const WORDS = 'Cannot pass CNI argument "K": its value contains "=", which plugins refuse';

for (const [release, dir] of [["cni-1.1.1", CNI_1_1_1], ["cni-1.9.1", CNI_1_9_1]] as const) {
  Deno.test({
    name: `the plugins of ${release} refuse an argument whose value has a "="`,
    ...need("root", release),
    fn: async () => {
      for (
        const [args, isTaken] of [["IgnoreUnknown=1;K=a", true], ["IgnoreUnknown=1;K=a=b", false]] as const
      ) {
        const { code, stdout } = await runCommand({
          program: `${dir}/host-local`,
          env: {
            PATH: SYSTEM_PATH,
            CNI_COMMAND: "ADD",
            CNI_CONTAINERID: "pwt-args",
            CNI_NETNS: "/proc/self/ns/net",
            CNI_IFNAME: "eth0",
            CNI_ARGS: args,
            CNI_PATH: dir,
          },
          stdin: JSON.stringify({
            cniVersion: "1.0.0",
            name: "pwt-args",
            type: "bridge",
            // Nothing is written before the arguments are read.
            ipam: { type: "host-local", dataDir: "/dev/null/none", subnet: "10.77.0.0/24" },
          }),
        });
        assertEquals(
          { code, includes: stdout.includes("invalid pair") },
          { code: 1, includes: !isTaken },
          stdout,
        );
      }
    },
  });
}

binaryTest("no interface accepts an argument that plugins would refuse", [], async (world) => {
  await world.plugin("good", GOOD);
  await world.list([{ type: "good" }]);
  const ran = () => sh(`ls ${world.pluginDir}`);
  for (const args of [["--arg=K=a=b"], [`--network=${world.network},arg=K=a=b`]]) {
    const { kind, msg } = await world.refused(2, ["run", "web", ...args]);
    assertEquals(kind, "usage");
    assertStringIncludes(msg, WORDS);
  }
  for (
    const args of [["run", "web"], ["add", world.network, "/proc/1/ns/net"], [
      "status",
      world.network,
      "/proc/1/ns/net",
    ]]
  ) {
    const { kind, msg } = await world.refused(2, args, { env: { CNI_ARGS: "K=a=b" } });
    assertEquals({ kind, msg }, { kind: "usage", msg: 'CNI_ARGS: invalid pair "K=a=b"' });
  }
  const container = new Deno.Command("unshare", { args: ["--net", "sleep", "600"] }).spawn();
  try {
    const state = {
      ociVersion: "1.0.2",
      id: world.id("c1"),
      status: "created",
      pid: container.pid,
      bundle: world.dir,
      annotations: { "podwire.networks": world.network, "podwire.args": "K=a=b" },
    };
    const hook = ["oci-hook", "createRuntime", "--allow-annotation=args"];
    const { code, stderr } = await world.podwire(hook, { stdin: JSON.stringify(state) });
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, WORDS);
  } finally {
    container.kill("SIGKILL");
    await container.status;
  }
  await using daemon = await DaemonProcess.start(world);
  for (
    const body of [
      { args: ["K=a=b"] },
      { args: { K: "a=b" } },
      { networks: [{ name: world.network, args: ["K=a=b"] }] },
      { networks: [{ name: world.network, args: { K: "a=b" } }] },
    ]
  ) {
    const { status, json: { error } } = await daemon.call("POST", "/v1/sandboxes", { name: "web", ...body });
    assertEquals(
      { status, kind: error.kind, path: error.path },
      { status: 400, kind: "usage", path: "args" },
      JSON.stringify(body),
    );
    assertStringIncludes(error.msg, WORDS);
  }
  await daemon.end();
  assertEquals(await ran(), "good\n", "no plugin was asked");
  assertEquals(await leftIn(world), []);
});

sandboxTest(
  "the library refuses it in a new attachment, and detaches what is on record with it",
  async (world) => {
    const plugin = await world.network("a");
    const podwire = world.podwire();
    const netns = `${world.netnsDir}/mine`;
    await createNetns(netns);
    const request = { containerId: world.id("c1"), netns, ifName: "eth0", capabilityArgs: {}, owner: "cli" };
    const args = [["K", "a=b"]] as const;
    for (
      const act of [
        () => podwire.add("a", { ...request, args }),
        () => podwire.sandboxes.run({ name: "web", args }),
        () => podwire.sandboxes.run({ name: "web", networks: [{ name: "a", args }] }),
      ]
    ) {
      const error = await assertRejects(act, CniError, WORDS);
      assertEquals({ kind: error.kind, code: error.code }, { kind: "usage", code: 4 });
    }
    await podwire.add("a", { ...request, args: [] });
    // As an earlier version, or another runtime, wrote it.
    const [record] = await world.store.ofContainer(request.containerId);
    await world.store.write({ ...record!, cniArgs: args });
    await podwire.del("a", { ...request, args: [] });
    const calls = await plugin.calls();
    assertEquals(calls.map(({ verb, env }) => [verb, env.CNI_ARGS]), [["ADD", ""], ["DEL", "K=a=b"]]);
    assertEquals(await world.left(), ["netns/mine"]);
  },
);
