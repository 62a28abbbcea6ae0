// How the sandboxes of a client of the CRI look up names.
import { assertEquals } from "@std/assert";
import { CRI_CLIENT, podConfig, startCri } from "../cri/cri_world.ts";
import { binaryTest } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";

const SERVERS = ["10.96.0.10", "fd00::a"];
/** More than the 6 that old resolvers take, and 2,048 characters. */
const SEARCHES = Array.from({ length: 32 }, (_, at) => `${String(at).padStart(2, "0")}.${"x".repeat(60)}`);
const DNS = { servers: SERVERS, searches: SEARCHES, options: ["ndots:5"] };

binaryTest(
  "the name servers of a kubelet win in every network, reach the plugins that take them, and survive a restart",
  CRI_CLIENT,
  async (world) => {
    const seen = `${world.dir}/seen`;
    await world.plugin(
      "takes",
      `#!/bin/sh\nif [ "$CNI_COMMAND" = ADD ]; then tee ${seen}; else cat >/dev/null; fi >/dev/null\n` +
        `[ "$CNI_COMMAND" != VERSION ] || echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'\n` +
        `[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.0.0","dns":{"nameservers":["192.0.2.1"]}}'\n`,
    );
    await world.list([{ type: "takes", capabilities: { dns: true } }]);
    const node = { security_context: { namespace_options: { network: "NODE", pid: "NODE", ipc: "NODE" } } };
    const expected = [
      `search ${SEARCHES.join(" ")}`,
      ...SERVERS.map((ip) => `nameserver ${ip}`),
      "options ndots:5",
    ];
    const ids: string[] = [];
    const check = async () => {
      for (const [at, id] of ids.entries()) {
        const { files } = await world.json(["inspect", id]);
        const text = await Deno.readTextFile(files.resolvConf);
        assertEquals(text.trimEnd().split("\n").slice(1), expected);
        assertEquals(await world.done(["exec", id, "--", "cat", "/etc/resolv.conf"]), text);
        if (at === 1) {
          assertEquals(files.hosts, "/etc/hosts");
          assertEquals(
            await world.done(["exec", id, "--", "cat", "/etc/hosts"]),
            await Deno.readTextFile("/etc/hosts"),
          );
        }
      }
    };
    {
      await using cri = await startCri(world);
      for (
        const config of [
          podConfig("own", { dns_config: DNS }),
          podConfig("host", { dns_config: DNS, linux: node }),
        ]
      ) ids.push(world.watch((await cri.client.ok("RunPodSandbox", { config })).pod_sandbox_id));
      assertEquals(JSON.parse(await Deno.readTextFile(seen)).runtimeConfig, { dns: DNS });
      await check();
      cri.daemon.child.kill("SIGKILL");
      await cri.daemon.child.status;
    }
    await using cri = await startCri(world);
    await check();
    const plain = podConfig("plain", { linux: node });
    const { pod_sandbox_id: id } = await cri.client.ok("RunPodSandbox", { config: plain });
    assertEquals((await world.json(["inspect", id])).files, null, "those of the host are right");
    for (const each of [...ids, id]) await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: each });
    assertEquals(await leftIn(world), []);

    // Where no plugin takes name servers, they are in the file alone.
    await world.list([{ type: "takes" }]);
    await using other = await startCri(world);
    const config = podConfig("own", { dns_config: DNS });
    const { pod_sandbox_id: own } = await other.client.ok("RunPodSandbox", { config });
    assertEquals(JSON.parse(await Deno.readTextFile(seen)).runtimeConfig, undefined);
    await other.client.ok("RemovePodSandbox", { pod_sandbox_id: own });
  },
);

binaryTest(
  "modes of process namespaces that are about containers are given back as they were asked for",
  CRI_CLIENT,
  async (world) => {
    await using cri = await startCri(world, ["--default-network=podwire"]);
    for (const more of [{ pid: "CONTAINER" }, { pid: "NODE" }, { pid: "TARGET", target_id: "c1" }]) {
      const namespace_options = { network: "NODE", ipc: "POD", ...more };
      const config = podConfig("web", { linux: { security_context: { namespace_options } } });
      const { pod_sandbox_id: id } = await cri.client.ok("RunPodSandbox", { config });
      const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: world.watch(id) });
      const { network, pid, ipc, target_id } = status.linux.namespaces.options;
      assertEquals({ network, pid, ipc, target_id }, { target_id: "", ...namespace_options });
      await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    }
    assertEquals(await leftIn(world), []);
  },
);
