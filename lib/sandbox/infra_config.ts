import type { JsonObject } from "../cni/json.ts";
import type { RunCommand } from "../host/command.ts";
import { readKernelFiles } from "../host/kernel_file.ts";
import { INFRA_SECCOMP } from "./infra_seccomp.ts";
import type { InfraSettings } from "./infra_settings.ts";

/** What is specific to one infra container. */
export interface InfraIdentity {
  readonly hostname: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** Its cgroup, as the runtime is to make it. */
  readonly cgroup: string;
  /** Sysctls of its IPC namespace. */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
  readonly settings?: InfraSettings | undefined;
  /** Whether it stays in the network namespace of the host, whose hostname it then has too. @default {false} */
  readonly hostNetwork?: boolean | undefined;
}

/** What the machine allows for an infra container. */
export interface InfraLimits {
  /** User and group of its process. */
  readonly user: number;
  readonly oomScoreAdj: number;
  /** Whether the kernel supports filters of system calls. */
  readonly hasSeccomp: boolean;
}

/** User of the pause image of Kubernetes. */
const USER = 65_535;
/** Score that the kubelet sets for the pause containers of pods: the kernel kills everything else first. */
const OOM_SCORE_ADJ = -998;
const CAP_SYS_RESOURCE = 24n;
const FACTS = ["uid_map", "gid_map", "oom_score_adj", "status"].map((name) => `/proc/self/${name}`);

/**
 * Finds out what an infra container can have on this machine. In a user namespace not every user may be mapped, and no OOM
 * score can be lowered: where the runtime would refuse a value, the container gets the nearest possible one.
 */
export async function infraLimits(run: RunCommand, signal?: AbortSignal): Promise<InfraLimits> {
  const shown = await Promise.all(FACTS.map((path) => readKernelFiles([path], { run, signal })));
  const [uids = "", gids = "", score = "", status = ""] = shown;
  const isMapped = [uids, gids].every((map) => covers(map, USER));
  const [, caps = "0"] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  const maySetScore = isInitialMap(uids) && (BigInt(`0x${caps}`) >> CAP_SYS_RESOURCE & 1n) === 1n;
  return {
    user: isMapped ? USER : 0,
    oomScoreAdj: maySetScore ? OOM_SCORE_ADJ : Math.max(Number(score), OOM_SCORE_ADJ),
    hasSeccomp: /^Seccomp:/m.test(status),
  };
}

/**
 * Returns the configuration of an infra container: no capabilities, no new privileges, a separate user, few system calls,
 * and the paths of `/proc` that show the host are masked or read-only.
 *
 * Source: OCI runtime specification 1.0.2; the masked and read-only paths are those of `runc spec`, which containerd and
 * CRI-O share.
 */
export function infraConfig(
  { hostname, annotations, cgroup, sysctls = {}, settings = {}, hostNetwork = false }: InfraIdentity,
  { user, oomScoreAdj, hasSeccomp }: InfraLimits,
): JsonObject {
  const none: string[] = [];
  const { groups = [], apparmor, selinux, resources, hostIpc = false } = settings;
  const seccomp = seccompOf(settings, hasSeccomp);
  const ofHost = [...hostNetwork ? ["network", "uts"] : [], ...hostIpc ? ["ipc"] : []];
  const namespaces = ["pid", "network", "ipc", "uts", "mount"].filter((type) => !ofHost.includes(type));
  return {
    ociVersion: "1.0.2",
    ...(hostNetwork ? {} : { hostname }),
    annotations,
    root: { path: "rootfs", readonly: true },
    process: {
      user: {
        uid: settings.user ?? user,
        gid: settings.group ?? user,
        ...(groups.length === 0 ? {} : { additionalGids: groups }),
      },
      args: ["/catatonit", "-P"],
      cwd: "/",
      env: ["PATH=/"],
      capabilities: { bounding: none, effective: none, inheritable: none, permitted: none, ambient: none },
      noNewPrivileges: true,
      oomScoreAdj: settings.oomScoreAdj ?? oomScoreAdj,
      ...(apparmor === undefined ? {} : { apparmorProfile: apparmor }),
      ...(selinux === undefined ? {} : { selinuxLabel: selinux }),
    },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    ],
    linux: {
      cgroupsPath: cgroup,
      namespaces: namespaces.map((type) => ({ type })),
      maskedPaths: [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
      ],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
      ...(seccomp && { seccomp }),
      ...(Object.keys(sysctls).length === 0 ? {} : { sysctl: { ...sysctls } }),
      ...(resources && { resources }),
    },
  };
}

function seccompOf({ seccomp }: InfraSettings, hasSeccomp: boolean): JsonObject | undefined {
  if (typeof seccomp === "object") return seccomp;
  return hasSeccomp && seccomp !== "none" ? INFRA_SECCOMP : undefined;
}

/** Whether a map of users or groups contains an ID. */
function covers(map: string, id: number): boolean {
  return rowsOf(map).some(([inside, , count]) => id >= inside && id < inside + count);
}

/** Whether it is the map of the initial user namespace. */
function isInitialMap(map: string): boolean {
  const [row, ...more] = rowsOf(map);
  return more.length === 0 && row?.join(" ") === "0 0 4294967295";
}

function rowsOf(map: string): readonly (readonly [number, number, number])[] {
  return map.trim().split("\n").map((line) => {
    const [inside = NaN, outside = NaN, count = NaN] = line.trim().split(/\s+/).map(Number);
    return [inside, outside, count];
  });
}
