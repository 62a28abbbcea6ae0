// The infra container of a pod on a machine of systemd, which makes its control groups.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { CRI_CLIENT, podConfig } from "../cri/cri_world.ts";
import { GrpcClient } from "../cri/grpc_client.ts";
import { until } from "./binary_world.ts";
import { need } from "./need.ts";
import { needMachine, SystemdMachine } from "./systemd_machine.ts";

const NET = {
  cniVersion: "1.0.0",
  name: "net",
  plugins: [{
    type: "bridge",
    bridge: "net0",
    ipam: { type: "host-local", ranges: [[{ subnet: "10.97.0.0/24" }]] },
  }],
};
const SOCKET = "/run/podwire/cri.sock";

function config(name: string, cgroup_parent: string) {
  const namespace_options = { network: "POD", pid: "POD", ipc: "POD" };
  return podConfig(name, { linux: { cgroup_parent, security_context: { namespace_options } } });
}

/** Starts the unit that podwire prints with these options, and returns a client of its CRI. */
async function serve(machine: SystemdMachine, ...options: readonly string[]): Promise<GrpcClient> {
  const print = ["podwire", "serve", "--cri", ...options, "--print-unit"].join(" ");
  await machine.done(`${print} >/etc/systemd/system/podwire.service`);
  await machine.done("systemctl daemon-reload && systemctl restart podwire");
  await machine.until(`[ -S ${SOCKET} ]`);
  return GrpcClient.start(`${machine.root}${SOCKET}`);
}

Deno.test({
  ...need("root", "systemd", "binary", "cni-1.1.1", "runc", "catatonit", "busybox", "ip", ...CRI_CLIENT),
  ...needMachine("under systemd an infra container has a scope in the slice of its pod, which goes with it"),
  fn: async () => {
    await using machine = await SystemdMachine.boot();
    await machine.write("/etc/cni/net.d/10-net.conflist", JSON.stringify(NET));
    const slice = "kubepods-besteffort-podu_1.slice";
    const above = "/kubepods.slice/kubepods-besteffort.slice";
    {
      await using client = await serve(machine);
      assertEquals(await client.ok("RuntimeConfig"), { linux: { cgroup_driver: "SYSTEMD" } });
      for (const parent of [slice, `${above}/${slice}`]) {
        const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config: config("web", parent) });
        const { pid, cgroup } = JSON.parse(await machine.done(`podwire inspect ${id} --json`));
        assertEquals(cgroup, `${above}/${slice}/podwire-${id}.scope`);
        assertEquals((await machine.done(`grep ^0:: /proc/${pid}/cgroup`)).trim(), `0::${cgroup}`);
        assertStringIncludes(await machine.done(`systemctl show podwire-${id}.scope -p Slice`), slice);
        await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
        await until(
          "the scope is gone",
          async () => (await machine.done("find /sys/fs/cgroup -name 'podwire-*'")) === "",
        );
      }
      // A kubelet with the other driver runs here too.
      const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", {
        config: config("web", "/kubepods/u1"),
      });
      const { pid } = JSON.parse(await machine.done(`podwire inspect ${id} --json`));
      assertEquals(
        (await machine.done(`grep ^0:: /proc/${pid}/cgroup`)).trim(),
        `0::/kubepods/u1/podwire-${id}`,
      );
      await client.ok("RemovePodSandbox", { pod_sandbox_id: id });
      assertEquals(await machine.done("find /sys/fs/cgroup -name kubepods"), "");
      assertEquals(
        await machine.done("systemctl is-active kubepods.slice"),
        "active\n",
        "podwire stops no slice",
      );
    }
    for (
      const [driver, parent] of [["cgroupfs", `${above}/${slice}`], ["systemd", "/kubepods/u1"]] as const
    ) {
      await using client = await serve(machine, `--cgroup-driver=${driver}`);
      assertEquals(await client.ok("RuntimeConfig"), { linux: { cgroup_driver: driver.toUpperCase() } });
      const { code, details } = await client.call("RunPodSandbox", { config: config("web", parent) });
      assertEquals(code, "INVALID_ARGUMENT");
      assertStringIncludes(details, `config.linux.cgroup_parent: "${parent}" is a name of the cgroup driver`);
      assertStringIncludes(details, `set cgroupDriver: ${driver} in the configuration of the kubelet`);
    }
    assertEquals(JSON.parse(await machine.done("podwire ps --json")), []);
  },
});
