// The command line, the daemon, the OCI hook and a plugin on its own keep the interfaces of others, too.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { createNetns, netnsId, removeNetns } from "../../lib/host/netns.ts";
import { until } from "../until.ts";
import { binaryTest, type BinaryWorld } from "./binary_world.ts";
import { sh } from "./builtin_world.ts";
import { DaemonProcess } from "./daemon_world.ts";
import { linksOf } from "./flavours.ts";

const TTL = "net.ipv4.ip_default_ttl";

/**
 * Runs a test with a network and a namespace that has a foreign `eth0`, which must be unchanged at its end.
 */
function foreignTest(name: string, fn: (world: BinaryWorld, netns: string) => Promise<void>): void {
  binaryTest(name, [], async (world) => {
    await world.list([world.bridgePlugin()]);
    const netns = `${world.netnsDir}/theirs`;
    // Other tests have links there too, which come and go.
    const theirs = `pwt${world.tag}`.slice(0, 15);
    await createNetns(netns);
    try {
      await sh(`ip link add ${theirs} type bridge`);
      await sh("ip link add eth0 type bridge && ip address add 192.0.2.1/24 dev eth0", netns);
      const look = async () => [await linksOf(netns), await sh(`ip -o address; sysctl -n ${TTL}`, netns)];
      const before = await look();
      const lookHere = async () => [
        (await linksOf()).filter((link) => link.includes(` ${theirs} `)),
        await sh(`sysctl -n ${TTL}`),
      ];
      const here = await lookHere();
      await fn(world, netns);
      assertEquals(await look(), before);
      assertEquals(await lookHere(), here);
      assertEquals(
        (await world.traces()).filter((trace) => trace !== "netns/theirs"),
        [],
      );
    } finally {
      await removeNetns(netns);
      await sh(`ip link delete dev ${theirs} 2>/dev/null || :`);
    }
  });
}

/** That of podwire itself, by the process of this test. */
const OWN = `/proc/${Deno.pid}/ns/net`;

foreignTest(
  "the command line keeps a foreign interface, and podwire's own namespace",
  async (world, netns) => {
    const { network } = world;
    const taken = await world.refused(1, ["add", network, netns]);
    assertEquals(taken.kind, "conflict");
    assertStringIncludes(taken.msg, "a bridge");
    assertEquals((await world.podwire(["del", network, netns])).code, 0);
    assertEquals((await world.podwire(["run", "--netns", netns, "--network", `${network}:eth0`])).code, 1);
    for (const verb of ["add", "check", "del"]) {
      assertEquals((await world.refused(2, [verb, network, OWN])).kind, "usage", verb);
    }
    for (const path of [OWN, "/proc/self/ns/net"]) {
      const refused = await world.refused(2, [
        "run",
        "--netns",
        path,
        "--network",
        network,
        `--sysctl=${TTL}=77`,
      ]);
      assertEquals(refused.kind, "usage");
      assertStringIncludes(refused.hint, "--host-network");
    }
  },
);

foreignTest("the daemon keeps a foreign interface, and its own namespace", async (world, netns) => {
  await using daemon = await DaemonProcess.start(world);
  const networks = [{ name: world.network, ifName: "eth0" }];
  const post = async (path: string) => {
    const { status, json } = await daemon.call("POST", "/v1/sandboxes", {
      netns: path,
      networks,
      sysctls: { [TTL]: "77" },
    });
    return [status, json.error.kind];
  };
  assertEquals(await post(netns), [409, "conflict"]);
  assertEquals(await post(OWN), [400, "usage"]);
  assertEquals((await daemon.call("POST", "/v1/gc", {})).status, 200);
  await daemon.end();
  await Deno.remove(`${world.stateDir}/readiness.json`).catch(() => {});
});

foreignTest("the OCI hook keeps an interface that its container has", async (world, netns) => {
  const child = new Deno.Command("nsenter", { args: [`--net=${netns}`, "--", "sleep", "600"] }).spawn();
  try {
    await until(
      async () => await netnsId(`/proc/${child.pid}/ns/net`) === await netnsId(netns),
      "it is inside",
    );
    const id = world.id("web");
    const annotations = { "podwire.networks": `${world.network}:eth0` };
    const state = {
      ociVersion: "1.0.2",
      id,
      pid: child.pid,
      status: "created",
      bundle: world.dir,
      annotations,
    };
    const hook = (stage: string, pid: number, status: string) =>
      world.podwire([], {
        dirs: ["oci-hook", stage, ...world.dirs],
        stdin: JSON.stringify({ ...state, pid, status }),
      });
    const failed = await hook("createRuntime", child.pid, "created");
    assertEquals(failed.code, 1, failed.stderr);
    assertStringIncludes(failed.stderr, 'has an interface "eth0" already');
    // What runtimes call after a failure.
    assertEquals((await hook("poststop", 0, "stopped")).code, 0);
    const host = await hook("createRuntime", Deno.pid, "created");
    assertEquals([await world.json(["ps"]), await world.json(["attachments"])], [[], []], host.stderr);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
});

foreignTest("the plugin on its own removes no foreign interface", async (world, netns) => {
  const plugin = { ...world.bridgePlugin(), cniVersion: "1.0.0", name: world.network };
  const call = async (verb: string, path: string) => {
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: world.id("c1"),
      CNI_NETNS: path,
      CNI_IFNAME: "eth0",
      CNI_PATH: world.pluginDir,
    };
    return await world.podwire(["plugin", "bridge"], { dirs: [], env, stdin: JSON.stringify(plugin) });
  };
  for (const path of [netns, OWN]) {
    assertEquals((await call("ADD", path)).code, 1);
    const { code } = await call("DEL", path);
    assertEquals(code, path === OWN ? 1 : 0);
  }
});
