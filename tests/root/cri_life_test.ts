// What a cancelled call, a killed daemon, a failing plugin and an ended container leave of a sandbox of the CRI.
import { assert, assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { CRI_CLIENT, podConfig, startCri, worldWithNetwork } from "../cri/cri_world.ts";
import type { GrpcClient } from "../cri/grpc_client.ts";
import { binaryTest, type BinaryWorld, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";
import { CATATONIT, RUNC } from "./need.ts";

/** A plugin that hangs in its ADD until it is ended, and otherwise ends at once. */
const HANGING = '#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] && exec sleep 600\n' +
  `[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'\nexit 0\n`;

/** Whether the plugin of this world waits, which it does in one verb only. */
async function isHanging(world: BinaryWorld): Promise<boolean> {
  return (await world.processes()).some((line) => line.includes("sleep 600"));
}

binaryTest(
  "cancelled, late or torn, a run leaves nothing, and its key can be used again",
  CRI_CLIENT,
  async (world) => {
    await world.plugin("hanging", HANGING);
    await world.list([{ type: "hanging" }]);
    await using cri = await startCri(world);
    const { client, daemon } = cri;
    const config = podConfig("web");
    const isUndone = async () => !await isHanging(world) && (await leftIn(world)).length === 0;

    const cancelled = client.begin("RunPodSandbox", { config });
    await until("the plugin runs", () => isHanging(world));
    assertEquals(await client.ok("ListPodSandbox"), { items: [] }, "it is hidden while it is being made");
    cancelled.cancel();
    assertEquals((await cancelled.answer).code, "CANCELLED");
    await until("all is undone after the cancel", isUndone);

    const late = await client.call("RunPodSandbox", { config }, { timeoutMs: 1_500 });
    assertEquals(late.code, "DEADLINE_EXCEEDED");
    await until("all is undone after the deadline", isUndone);

    const torn = client.begin("RunPodSandbox", { config }, { connection: 1 });
    await until("the plugin runs again", () => isHanging(world));
    client.close(1);
    assert((await torn.answer).code !== "OK");
    await until("all is undone after the connection is torn", isUndone);

    await worldWithNetwork(world);
    await daemon.child.kill("SIGHUP");
    await until("the network is read again", async () => {
      const { info } = await client.ok("Status", { verbose: true });
      return JSON.parse(info.network).networks[0].plugins[0] === "bridge";
    });
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config });
    await client.ok("RemovePodSandbox", { pod_sandbox_id: world.watch(id) });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "the status of a sandbox is the same after the daemon was killed and started again",
  CRI_CLIENT,
  async (world) => {
    await worldWithNetwork(world);
    const statuses = async (
      cri: { client: { ok(method: string, request?: unknown): Promise<unknown> } },
      ids: string[],
    ) => {
      const all = await Promise.all(
        ids.map((id) => cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id })),
      );
      return JSON.stringify(all.map((answer) => (answer as { status: unknown }).status));
    };
    const ids: string[] = [];
    let before = "";
    {
      await using cri = await startCri(world);
      const host = { security_context: { namespace_options: { network: "NODE", pid: "NODE", ipc: "NODE" } } };
      const port = { port_mappings: [{ host_port: 18_080, container_port: 80, protocol: "TCP" }] };
      for (
        const config of [
          podConfig("own", { annotations: { a: "b" }, log_directory: "/var/log/pods/x", ...port }),
          podConfig("host", { linux: host }),
        ]
      ) ids.push(world.watch((await cri.client.ok("RunPodSandbox", { config })).pod_sandbox_id));
      before = await statuses(cri, ids);
      cri.daemon.child.kill("SIGKILL");
      await cri.daemon.child.status;
    }
    await using cri = await startCri(world);
    assertEquals(await statuses(cri, ids), before);
    const { info } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: ids[0], verbose: true });
    assertEquals(JSON.parse(info.config).logDirectory, "/var/log/pods/x");
    for (const id of ids) await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "a sandbox whose containers share process IDs has an infra container, which goes with it",
  [...CRI_CLIENT, "runc", "catatonit"],
  async (world) => {
    await worldWithNetwork(world);
    const path = `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}`;
    await using cri = await startCri(world, [], { PATH: path });
    const { client, daemon } = cri;
    const linux = { security_context: { namespace_options: { network: "POD", pid: "POD", ipc: "POD" } } };
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", {
      config: podConfig("web", { linux, hostname: "pod.example" }),
    });
    world.watch(id);
    const { pid, ips } = await world.json(["inspect", id]);
    assert(typeof pid === "number" && pid > 1);
    const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    assertEquals({ ip: status.network.ip, pid: status.linux.namespaces.options.pid }, {
      ip: ips[0],
      pid: "POD",
    });
    assertEquals(await sh(`nsenter -t ${pid} -u hostname`), "pod.example\n");
    await sh(`nsenter -t ${pid} -n bash -c 'printf %01000d 0 >/dev/udp/${ips[0].replace(/\d+$/, "250")}/9'`);
    const { stats: [stats] } = await client.ok("ListPodSandboxStats", { filter: { id } });
    const { network, cpu, memory, process } = stats.linux;
    assertEquals(network.default_interface.name, "eth0");
    assert(Number(network.default_interface.tx_bytes.value) > 0);
    assert(Number(cpu.usage_core_nano_seconds.value) > 0);
    assert(Number(memory.working_set_bytes.value) <= Number(memory.usage_bytes.value));
    assertEquals(process.process_count.value, "1");
    assertEquals(
      (await client.ok("ListPodSandboxStats", { filter: { label_selector: { a: "b" } } })).stats,
      [],
    );
    Deno.kill(pid, "SIGKILL");
    await until("it is seen that the infra container is gone", async () => {
      const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
      return status.state === "SANDBOX_NOTREADY";
    });
    await client.ok("StopPodSandbox", { pod_sandbox_id: id });
    await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals((await daemon.end()).filter(({ level }) => level === "error"), []);
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "a DEL that always fails fails neither Stop nor Remove, and stays on record",
  CRI_CLIENT,
  async (world) => {
    await world.plugin(
      "stubborn",
      '#!/bin/sh\n[ "$CNI_COMMAND" = DEL ] && { echo \'{"code": 100, "msg": "no"}\'; exit 1; }\n' +
        `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0"}'\n` +
        `[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'\nexit 0\n`,
    );
    await world.list([{ type: "stubborn" }]);
    await using cri = await startCri(world);
    const { client } = cri;
    const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config: podConfig("web") });
    world.watch(id);
    for (let times = 0; times < 2; times++) await client.ok("StopPodSandbox", { pod_sandbox_id: id });
    assertEquals(
      (await client.ok("PodSandboxStatus", { pod_sandbox_id: id })).status.state,
      "SANDBOX_NOTREADY",
    );
    await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals(await client.ok("ListPodSandbox"), { items: [] });
    const left = await world.json(["attachments", "--failed"]);
    assertEquals(left.map(({ containerId }: { containerId: string }) => containerId), [id]);
    const { pod_sandbox_id: next } = await client.ok("RunPodSandbox", { config: podConfig("web") });
    assert(world.watch(next) !== id, "its key is free");
    await client.ok("RemovePodSandbox", { pod_sandbox_id: next });
    for (const container of [id, next]) {
      assertEquals((await world.podwire(["forget", container, "--reason=test"])).code, 0);
    }
  },
);

binaryTest(
  "killed while it makes or stops a sandbox, the daemon leaves no half of it",
  CRI_CLIENT,
  async (world) => {
    const program = (verb: string) =>
      `#!/bin/sh\n[ "$CNI_COMMAND" = ${verb} ] && [ -e ${world.dir}/hang ] && exec sleep 600\n` +
      `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0"}'\n` +
      `[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'\nexit 0\n`;
    await world.list([{ type: "slow" }]);
    const config = podConfig("web");
    const kill = async (verb: string, begin: (client: GrpcClient) => Promise<unknown>) => {
      await world.plugin("slow", program(verb));
      await using cri = await startCri(world);
      const ended = begin(cri.client).catch(() => {});
      await until(`the plugin is in ${verb}`, () => isHanging(world));
      cri.daemon.child.kill("SIGKILL");
      await cri.daemon.child.status;
      await ended;
      await Deno.remove(`${world.dir}/hang`);
    };
    await Deno.writeTextFile(`${world.dir}/hang`, "");
    await kill("ADD", (client) => client.call("RunPodSandbox", { config }));
    let id = "";
    {
      await using cri = await startCri(world);
      assertEquals(await cri.client.ok("ListPodSandbox"), { items: [] });
      ({ pod_sandbox_id: id } = await cri.client.ok("RunPodSandbox", { config }));
      world.watch(id);
    }
    await Deno.writeTextFile(`${world.dir}/hang`, "");
    await kill("DEL", (client) => client.call("StopPodSandbox", { pod_sandbox_id: id }));
    await using cri = await startCri(world);
    await cri.client.ok("StopPodSandbox", { pod_sandbox_id: id });
    const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    assertEquals(status.state, "SANDBOX_NOTREADY");
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals(await leftIn(world), []);
  },
);
