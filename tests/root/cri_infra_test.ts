// What a client of the CRI asks for the infra container of a sandbox, as the kernel shows it.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname } from "@std/path";
import { CRI_CLIENT, type CriDaemon, podConfig, startCri, worldWithNetwork } from "../cri/cri_world.ts";
import { binaryTest, type BinaryWorld, isThere, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";
import { CATATONIT, RUNC } from "./need.ts";

const env = { PATH: `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}` };
const POD = { network: "POD", pid: "POD", ipc: "POD" };

/** A sandbox with an infra container; `linux` and `context` have what is asked of it. */
function infraConfig(
  name: string,
  { context = {}, options = POD, ...linux }: {
    readonly context?: object;
    readonly options?: object;
    readonly [member: string]: unknown;
  } = {},
) {
  return podConfig(name, {
    linux: { ...linux, security_context: { ...context, namespace_options: options } },
  });
}

function infraTest(name: string, fn: (world: BinaryWorld) => Promise<void>): void {
  binaryTest(name, [...CRI_CLIENT, "runc", "catatonit"], async (world) => {
    await worldWithNetwork(world);
    await fn(world);
  });
}

/** Makes the sandbox, and returns it as `podwire inspect` shows it once its process runs its program. */
async function started(world: BinaryWorld, { client }: CriDaemon, config: unknown) {
  const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config });
  const sandbox = await world.json(["inspect", world.watch(id)]);
  await until(
    "it runs catatonit",
    async () => (await sh(`cat /proc/${sandbox.pid}/cmdline`)).startsWith("/catatonit"),
  );
  return sandbox;
}

async function refusal({ client }: CriDaemon, config: unknown): Promise<string> {
  const { code, details } = await client.call("RunPodSandbox", { config });
  assertEquals(code, "INVALID_ARGUMENT", details);
  return details;
}

/** Fields of `/proc/<pid>/status`. */
async function statusOf(pid: number): Promise<Record<string, string>> {
  const lines = (await sh(`cat /proc/${pid}/status`)).trimEnd().split("\n");
  return Object.fromEntries(lines.map((line) => {
    const [key = "", value = ""] = line.split(/:\s*/);
    return [key, value.replaceAll("\t", " ").trim()];
  }));
}

/** All control groups of that name, in every hierarchy. */
async function groups(name: string): Promise<string[]> {
  return (await sh(`find /sys/fs/cgroup -type d -name '${name}'`)).split("\n").filter((line) => line !== "");
}

infraTest(
  "an infra container is below the cgroup parent, which stays if others made it and goes if podwire did",
  async (world) => {
    const mine = `pwt-mine-${world.id("web")}`;
    const theirs = `pwt-theirs-${world.id("web")}`;
    const tops = (await sh("find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -printf '%h\\n'")).trim()
      .split("\n")
      .filter((path) => path === "/sys/fs/cgroup" || !/\/init$/.test(path));
    const hierarchies = tops.includes("/sys/fs/cgroup") ? ["/sys/fs/cgroup"] : tops;
    for (const top of hierarchies) await Deno.mkdir(`${top}/${theirs}`);
    try {
      await using cri = await startCri(world, [], env);
      const one = await started(
        world,
        cri,
        infraConfig("one", { cgroup_parent: `/${mine}/burstable/pod1` }),
      );
      assertEquals(one.cgroup, `/${mine}/burstable/pod1/podwire-${one.id}`);
      assertStringIncludes(await sh(`cat /proc/${one.pid}/cgroup`), `:${one.cgroup}\n`);
      const two = await started(
        world,
        cri,
        infraConfig("two", { cgroup_parent: `/${mine}/burstable/pod1` }),
      );
      const three = await started(world, cri, infraConfig("three", { cgroup_parent: `/${theirs}/new` }));
      const { stats } = await cri.client.ok("PodSandboxStats", { pod_sandbox_id: one.id });
      assertEquals(stats.linux.process.process_count.value, "1");
      const { info } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: one.id, verbose: true });
      assertEquals(JSON.parse(info.sandbox).cgroup, one.cgroup);

      await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: one.id });
      assertEquals(await groups(`podwire-${one.id}`), []);
      assert((await groups(mine)).length > 0, "the other sandbox is in it");
      cri.daemon.child.kill("SIGKILL");
      await cri.daemon.child.status;
      await using again = await startCri(world, [], env);
      await again.client.ok("RemovePodSandbox", { pod_sandbox_id: two.id });
      assertEquals(await groups(mine), [], "with the last sandbox what podwire made goes");
      await again.client.ok("RemovePodSandbox", { pod_sandbox_id: three.id });
      assertEquals(await groups("new"), []);
      assertEquals((await groups(theirs)).length, hierarchies.length, "what others made stays");
      assertEquals(await isThere(`${world.stateDir}/cgroups`), false);
      assertEquals(await leftIn(world), []);
    } finally {
      for (const top of hierarchies) await Deno.remove(`${top}/${theirs}`);
    }
  },
);

infraTest(
  "the kubelet's limits bound the infra container, and what the pod costs comes on top",
  async (world) => {
    await using cri = await startCri(world, [], env);
    const MIB = 1024 * 1024;
    const sandbox = await started(
      world,
      cri,
      infraConfig("web", {
        cgroup_parent: `/pwt-limits-${world.id("web")}`,
        resources: {
          cpu_shares: 100,
          cpu_quota: 20_000,
          cpu_period: 100_000,
          memory_limit_in_bytes: 64 * MIB,
          oom_score_adj: 500,
        },
        overhead: { cpu_shares: 28, cpu_quota: 5_000, cpu_period: 50_000, memory_limit_in_bytes: 36 * MIB },
      }),
    );
    const read = (two: string, one: string) =>
      sh(
        `cat /sys/fs/cgroup${sandbox.cgroup}/${two} 2>/dev/null || cat /sys/fs/cgroup/*${sandbox.cgroup}/${one}`,
      );
    assertEquals((await read("memory.max", "memory.limit_in_bytes")).trim(), String(100 * MIB));
    assertMatch((await read("cpu.max", "cpu.cfs_quota_us")).trim(), /^30000( 100000)?$/);
    assertEquals((await sh(`cat /proc/${sandbox.pid}/oom_score_adj`)).trim(), "500");
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: sandbox.id });
    assertEquals(await leftIn(world), []);
  },
);

infraTest(
  "sysctls of the IPC namespace are set in that of the infra container and nowhere else",
  async (world) => {
    await using cri = await startCri(world, [], env);
    const sysctls = {
      "kernel.shmmax": "1234567",
      "kernel.msgmnb": "4321",
      "kernel.sem": "251 32001 101 129",
      "fs.mqueue.msg_max": "11",
      "net.ipv4.ip_unprivileged_port_start": "81",
    };
    const paths = Object.keys(sysctls).map((name) => `/proc/sys/${name.replaceAll(".", "/")}`).join(" ");
    const before = await sh(`cat ${paths}`);
    const sandbox = await started(world, cri, infraConfig("web", { sysctls }));
    const inside = await sh(`nsenter -t ${sandbox.pid} -i -n cat ${paths}`);
    assertEquals(inside.trim().split("\n").map((line) => line.replaceAll("\t", " ")), Object.values(sysctls));
    assertEquals(await sh(`cat ${paths}`), before);
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: sandbox.id });
    const field = (name: string) => `config.linux.sysctls["${name}"]: `;
    const shmmax = { "kernel.shmmax": "1" };
    assertStringIncludes(
      await refusal(cri, podConfig("x", { linux: { sysctls: shmmax } })),
      `${field("kernel.shmmax")}it needs the IPC namespace of an infra container`,
    );
    assertStringIncludes(
      await refusal(cri, infraConfig("x", { sysctls: shmmax, options: { ...POD, ipc: "NODE" } })),
      `${field("kernel.shmmax")}an ipc of NODE`,
    );
    assertStringIncludes(
      await refusal(cri, infraConfig("x", { sysctls: { "kernel.hostname": "x" } })),
      field("kernel.hostname"),
    );
    assertEquals(await leftIn(world), []);
  },
);

infraTest(
  "the infra container runs as the user, with the groups and with the filter that are asked for",
  async (world) => {
    const profile = `${world.dir}/profile.json`;
    const allowed = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [] as object[] };
    const refuses = { names: ["sethostname"], action: "SCMP_ACT_ERRNO", errnoRet: 1 };
    await Deno.writeTextFile(profile, JSON.stringify({ ...allowed, syscalls: [refuses] }));
    await using cri = await startCri(world, [], env);
    const local = { profile_type: "Localhost", localhost_ref: profile };
    const sandbox = await started(
      world,
      cri,
      infraConfig("web", {
        context: {
          run_as_user: { value: 1234 },
          run_as_group: { value: 4321 },
          supplemental_groups: [7, 8],
          seccomp: local,
          privileged: true,
          readonly_rootfs: true,
          selinux_options: { level: "s0:c1,c2" },
        },
      }),
    );
    const { Uid, Gid, Groups, Seccomp, NoNewPrivs, CapBnd } = await statusOf(sandbox.pid);
    assertEquals({ Uid, Gid, Groups, Seccomp, NoNewPrivs, CapBnd }, {
      Uid: "1234 1234 1234 1234",
      Gid: "4321 4321 4321 4321",
      Groups: "7 8",
      Seccomp: "2",
      NoNewPrivs: "1",
      CapBnd: "0000000000000000",
    });
    const bundle = JSON.parse(await Deno.readTextFile(`${world.stateDir}/infra/${sandbox.id}/config.json`));
    assertEquals(bundle.linux.seccomp, { ...allowed, syscalls: [refuses] });
    assertEquals(bundle.root.readonly, true);
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: sandbox.id });

    for (
      const [context, seccomp] of [
        [{ seccomp: { profile_type: "Unconfined" } }, "0"],
        [{ seccomp: { profile_type: "RuntimeDefault" } }, "2"],
        [{ seccomp_profile_path: "unconfined" }, "0"],
        [{ seccomp_profile_path: `localhost/${profile}` }, "2"],
        [{}, "2"],
      ] as const
    ) {
      const { id, pid } = await started(world, cri, infraConfig("web", { context }));
      assertEquals((await statusOf(pid)).Seccomp, seccomp, JSON.stringify(context));
      await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    }
    assertEquals(await leftIn(world), []);
  },
);

infraTest("a sandbox in the IPC namespace of the host has an infra container all the same", async (world) => {
  await using cri = await startCri(world, [], env);
  const { id, pid } = await started(world, cri, infraConfig("web", { options: { ...POD, ipc: "NODE" } }));
  assertEquals(await Deno.readLink(`/proc/${pid}/ns/ipc`), await Deno.readLink("/proc/self/ns/ipc"));
  assert(await Deno.readLink(`/proc/${pid}/ns/pid`) !== await Deno.readLink("/proc/self/ns/pid"));
  const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id });
  assertEquals(status.linux.namespaces.options.ipc, "NODE");
  await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
  assertEquals(await leftIn(world), []);
});

infraTest(
  "containers that share process IDs in the network of the host have an infra container there, which goes with the sandbox",
  async (world) => {
    const options = { network: "NODE", pid: "POD", ipc: "POD" };
    const sysctls = { "kernel.msgmax": "4242" };
    let id = "";
    {
      await using cri = await startCri(world, [], env);
      const sandbox = await started(world, cri, infraConfig("web", { options, sysctls }));
      id = sandbox.id;
      const [pid, hostNetwork, networks] = [sandbox.pid, sandbox.hostNetwork, sandbox.networks];
      assertEquals({ hostNetwork, networks, state: sandbox.state }, {
        hostNetwork: true,
        networks: [],
        state: "ready",
      });
      for (const [kind, isHost] of [["net", true], ["uts", true], ["pid", false], ["ipc", false]] as const) {
        const isSame = await Deno.readLink(`/proc/${pid}/ns/${kind}`) ===
          await Deno.readLink(`/proc/self/ns/${kind}`);
        assertEquals(isSame, isHost, kind);
      }
      assertEquals(
        await world.done(["exec", id, "--", "cat", "/proc/sys/kernel/msgmax", "/proc/1/comm"]),
        "4242\ncatatonit\n",
      );
      cri.daemon.child.kill("SIGKILL");
      await cri.daemon.child.status;
    }
    await using cri = await startCri(world, [], env);
    const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    const { network, pid } = status.linux.namespaces.options;
    assertEquals({ state: status.state, network, pid, ip: status.network.ip }, {
      state: "SANDBOX_READY",
      network: "NODE",
      pid: "POD",
      ip: "",
    });
    Deno.kill((await world.json(["inspect", id])).pid, "SIGKILL");
    await until("it is not ready any more", async () => {
      const { status } = await cri.client.ok("PodSandboxStatus", { pod_sandbox_id: id });
      return status.state === "SANDBOX_NOTREADY";
    });
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: id });
    assertEquals(await groups(`podwire-${id}`), []);
    assertEquals(await leftIn(world), []);
  },
);

infraTest(
  "a daemon that is killed, or a runtime that fails, leaves no control group of a sandbox that was being made",
  async (world) => {
    const parent = `pwt-killed-${world.id("web")}`;
    // Not below the folder of the world, by which its processes are known: the daemon is one that has to stay.
    await using temporary = new AsyncDisposableStack();
    const bin = await Deno.makeTempDir({ prefix: "pwt-runtime-" });
    temporary.defer(() => Deno.remove(bin, { recursive: true }));
    const create = async (body: string) => {
      const script = `#!/bin/sh\ncase " $* " in *" create "*) ${body} ;; esac\nexec ${RUNC} "$@"\n`;
      await Deno.writeTextFile(`${bin}/runc.new`, script, { mode: 0o755 });
      await Deno.rename(`${bin}/runc.new`, `${bin}/runc`);
    };
    const own = { PATH: `${bin}:${env.PATH}` };
    const config = infraConfig("web", { cgroup_parent: `/${parent}/pod1` });
    await create("exit 1");
    {
      await using cri = await startCri(world, [], own);
      const { code, details } = await cri.client.call("RunPodSandbox", { config });
      assertEquals(code, "UNKNOWN");
      assertStringIncludes(details, "Cannot create an infra container");
      assertEquals(await groups(parent), []);
      assertEquals(await leftIn(world), []);

      await create(`echo $$ >${bin}/pid.new && mv ${bin}/pid.new ${bin}/pid && exec sleep 600`);
      const { answer } = cri.client.begin("RunPodSandbox", { config });
      await until("the runtime runs", () => isThere(`${bin}/pid`));
      assert((await groups("pod1")).length > 0);
      cri.daemon.child.kill("SIGKILL");
      await cri.daemon.child.status;
      assert((await answer).code !== "OK");
    }
    await create(":");
    await using cri = await startCri(world, [], own);
    await until("all is undone", async () => (await groups(parent)).length === 0);
    assertEquals(await isThere(`/proc/${(await Deno.readTextFile(`${bin}/pid`)).trim()}`), false);
    const sandbox = await started(world, cri, config);
    await cri.client.ok("RemovePodSandbox", { pod_sandbox_id: sandbox.id });
    assertEquals(await groups(parent), []);
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "the command line sets sysctls of IPC in an infra container, and names what is missing without one",
  ["runc", "catatonit"],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const sysctl = "--sysctl=kernel.msgmax=4242";
    const { msg } = await world.refused(2, ["run", "web", sysctl]);
    assertStringIncludes(msg, 'the sysctl "kernel.msgmax" needs an infra container');
    const { pid } = await world.json(["run", "web", "--id", world.id("web"), "--infra", sysctl], { env });
    assertEquals(await sh(`nsenter -t ${pid} -i cat /proc/sys/kernel/msgmax`), "4242\n");
    await world.done(["rm", "web"], { env });
    assertEquals(await world.traces(), []);
  },
);
