// What is asked of an infra container, in the words of the CRI, and what an OCI runtime is given for it.
import { create } from "@bufbuild/protobuf";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { cgroupDriver, requireParent } from "../../lib/cri/cgroup_driver.ts";
import { LinuxPodSandboxConfigSchema } from "../../lib/cri/generated/api_pb.ts";
import { infraSettings, selinuxLabel } from "../../lib/cri/infra_options.ts";
import { readSeccompProfile } from "../../lib/cri/seccomp_profile.ts";
import { readKernelFiles } from "../../lib/host/kernel_file.ts";
import { inTempDir } from "../temp_dir.ts";

const { signal } = new AbortController();
const DRIVER = { name: "cgroupfs", isGiven: false } as const;

const settingsOf = (linux: Parameters<typeof create<typeof LinuxPodSandboxConfigSchema>>[1]) =>
  infraSettings(create(LinuxPodSandboxConfigSchema, linux), DRIVER, signal);

Deno.test("a parent of the other cgroup driver is refused with both names and the key of the kubelet", () => {
  const slice = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice";
  const path = "/kubepods/besteffort/pod1";
  const refused = (parent: string, name: "cgroupfs" | "systemd", isGiven: boolean) =>
    assertThrows(() => requireParent(parent, { name, isGiven })).message;
  requireParent(slice, { name: "systemd", isGiven: true });
  requireParent(slice, { name: "systemd", isGiven: false });
  requireParent(path, { name: "cgroupfs", isGiven: true });
  // A kubelet may use paths on a machine of systemd.
  requireParent(path, { name: "systemd", isGiven: false });
  assertEquals(
    refused(path, "systemd", true),
    `[invalid_argument] config.linux.cgroup_parent: "${path}" is a name of the cgroup driver cgroupfs, and podwire has systemd, ` +
      "as --cgroup-driver says; set cgroupDriver: systemd in the configuration of the kubelet, or serve with --cgroup-driver=cgroupfs",
  );
  assertStringIncludes(refused(slice, "cgroupfs", true), "podwire has cgroupfs, as --cgroup-driver says");
  assertStringIncludes(refused(slice, "cgroupfs", false), "because systemd is not the first process here");
  for (const wrong of ["kubepods", "/a/../b", "a--b.slice", "/a/-b.slice", "/a\nb"]) {
    assertStringIncludes(refused(wrong, "systemd", false), "config.linux.cgroup_parent: ");
  }
});

Deno.test("the cgroup driver is the one that was given, or that of the first process", async () => {
  assertEquals(await cgroupDriver("systemd"), { name: "systemd", isGiven: true });
  const first = (await readKernelFiles(["/proc/1/comm"])).trim();
  assertEquals(await cgroupDriver(undefined), {
    name: first === "systemd" ? "systemd" : "cgroupfs",
    isGiven: false,
  });
});

Deno.test("limits of the containers and of the pod itself are added, and 0 limits nothing", async () => {
  const none = { cpuShares: 0n, cpuPeriod: 0n, cpuQuota: 0n, memoryLimitInBytes: 0n };
  assertEquals((await settingsOf({ resources: none, overhead: none })).resources, undefined);
  assertEquals((await settingsOf({ resources: { ...none, cpuQuota: -1n, cpuShares: 2n } })).resources, {
    cpu: { shares: 2 },
  });
  const { resources, oomScoreAdj } = await settingsOf({
    resources: {
      cpuShares: 100n,
      cpuPeriod: 100_000n,
      cpuQuota: 20_000n,
      memoryLimitInBytes: 50n,
      memorySwapLimitInBytes: 80n,
      cpusetCpus: "0-1",
      hugepageLimits: [{ pageSize: "2MB", limit: 4n }],
      oomScoreAdj: 7n,
    },
    overhead: { cpuShares: 1n, cpuPeriod: 50_000n, cpuQuota: 1_000n, memoryLimitInBytes: 5n },
  });
  assertEquals({ resources, oomScoreAdj }, {
    resources: {
      cpu: { shares: 101, quota: 22_000, period: 100_000, cpus: "0-1" },
      memory: { limit: 55, swap: 80 },
      hugepageLimits: [{ pageSize: "2MB", limit: 4 }],
    },
    oomScoreAdj: 7,
  });
});

Deno.test("a limit that cannot be is refused by the name of its field", async () => {
  const cases = [
    [{ resources: { memoryLimitInBytes: -1n } }, "resources.memory_limit_in_bytes: -1"],
    [{ resources: { cpuShares: -1n } }, "resources.cpu_shares: -1"],
    [{ overhead: { cpuPeriod: -1n } }, "overhead.cpu_period: -1"],
    [{ resources: { oomScoreAdj: 1001n } }, "resources.oom_score_adj: 1001"],
    [{ overhead: { cpusetCpus: "0" } }, "overhead.cpuset_cpus: "],
    [{ overhead: { memorySwapLimitInBytes: 1n } }, "overhead.memory_swap_limit_in_bytes: "],
    [{ overhead: { unified: { "memory.high": "1" } } }, "overhead.unified: "],
  ] as const;
  for (const [linux, words] of cases) {
    const { message } = await assertRejects(() => settingsOf(linux));
    assertStringIncludes(message, `config.linux.${words}`);
  }
});

Deno.test("a profile of the node is read as it is written, and what the format does not have is refused by its name", async () => {
  await inTempDir(async (dir) => {
    const path = `${dir}/profile.json`;
    const read = async (text: string) => {
      await Deno.writeTextFile(path, text);
      return await readSeccompProfile(path, signal);
    };
    const rule = { names: ["kill"], action: "SCMP_ACT_LOG", comment: "seen" };
    const arg = { index: 0, value: 1, valueTwo: 2, op: "SCMP_CMP_MASKED_EQ" };
    const profile = {
      defaultAction: "SCMP_ACT_ERRNO",
      defaultErrnoRet: 38,
      architectures: ["SCMP_ARCH_X86_64"],
      flags: ["SECCOMP_FILTER_FLAG_LOG"],
      syscalls: [{ ...rule, args: [arg] }],
    };
    assertEquals(await read(JSON.stringify(profile)), profile);
    const cases = [
      ["", "there is no such file, it is empty, or it cannot be read"],
      ["{", "cannot be used: "],
      ["[]", "must be an object"],
      ["{}", "defaultAction is missing"],
      [
        JSON.stringify({ ...profile, defaultAction: "ALLOW" }),
        "defaultAction must be one of SCMP_ACT_KILL, ",
      ],
      [JSON.stringify({ ...profile, archMap: [] }), "archMap is unknown"],
      [JSON.stringify({ ...profile, listenerPath: "/x" }), "listenerPath is unknown"],
      [
        JSON.stringify({ ...profile, syscalls: [{ ...rule, includes: {} }] }),
        "syscalls[0].includes is unknown",
      ],
      [
        JSON.stringify({ ...profile, syscalls: [{ ...rule, args: [{ ...arg, value: 1.5 }] }] }),
        "syscalls[0].args[0].value must be a whole number from 0",
      ],
      [
        JSON.stringify({ ...profile, syscalls: [{ ...rule, names: "kill" }] }),
        "syscalls[0].names must be an array",
      ],
      [
        JSON.stringify({ ...profile, syscalls: [{ ...rule, args: [{ ...arg, index: 6 }] }] }),
        "syscalls[0].args[0].index",
      ],
    ] as const;
    for (const [text, words] of cases) {
      const { message } = await assertRejects(() => read(text), Error, path);
      assertStringIncludes(message, words);
    }
  });
});

Deno.test("what a label for SELinux does not say is as for all containers", () => {
  const none = { user: "", role: "", type: "", level: "" };
  assertEquals(selinuxLabel(none), "system_u:system_r:container_t:s0");
  assertEquals(
    selinuxLabel({ ...none, type: "spc_t", level: "s0:c1,c2" }),
    "system_u:system_r:spc_t:s0:c1,c2",
  );
});
