import { CniError } from "../cni/error.ts";
import { type SecurityModules, securityModules } from "../host/security_modules.ts";
import type { InfraSettings } from "../sandbox/infra_settings.ts";
import { type CgroupDriver, requireParent } from "./cgroup_driver.ts";
import {
  type LinuxPodSandboxConfig,
  type LinuxSandboxSecurityContext,
  NamespaceMode,
  type SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
} from "./generated/api_pb.ts";
import { invalidField } from "./grpc_error.ts";
import { infraResources } from "./infra_resources.ts";
import { readSeccompProfile } from "./seccomp_profile.ts";

const CONTEXT = "config.linux.security_context";
/** The kernel has one number more, for no user. */
const LARGEST_USER = 2n ** 32n - 2n;

/**
 * Returns what is asked for the infra container of a sandbox. In any case its process has no capabilities, no new privileges and a
 * read-only root: whatever containers the sandbox is for, it is none of them.
 *
 * Requires as `readKernelFiles`.
 *
 * @throws {ConnectError} with `InvalidArgument`
 */
export async function infraSettings(
  linux: LinuxPodSandboxConfig | undefined,
  driver: CgroupDriver,
  signal: AbortSignal,
): Promise<InfraSettings> {
  if (linux === undefined) return {};
  const { cgroupParent, securityContext: context } = linux;
  if (cgroupParent !== "") requireParent(cgroupParent, driver);
  return {
    ...(cgroupParent === "" ? {} : { cgroupParent }),
    ...await infraResources(linux, signal),
    ...(context === undefined ? {} : await confinement(context, signal)),
  };
}

async function confinement(
  context: LinuxSandboxSecurityContext,
  signal: AbortSignal,
): Promise<InfraSettings> {
  const { runAsUser, runAsGroup, supplementalGroups, namespaceOptions } = context;
  const modules = await securityModules({ signal });
  const seccomp = await seccompOf(context, signal);
  const [apparmor, selinux] = [apparmorOf(context, modules), selinuxOf(context, modules)];
  return {
    ...(runAsUser === undefined ? {} : { user: idOf("run_as_user", runAsUser.value) }),
    ...(runAsGroup === undefined ? {} : { group: idOf("run_as_group", runAsGroup.value) }),
    groups: supplementalGroups.map((group, at) => idOf(`supplemental_groups[${at}]`, group)),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(apparmor === undefined ? {} : { apparmor }),
    ...(selinux === undefined ? {} : { selinux }),
    hostIpc: namespaceOptions?.ipc === NamespaceMode.NODE,
  };
}

function idOf(member: string, id: bigint): number {
  if (id >= 0n && id <= LARGEST_USER) return Number(id);
  throw invalidField(`${CONTEXT}.${member}`, `${id} is not a number from 0 to ${LARGEST_USER}`);
}

/** The older member counts where the newer one is missing. */
async function seccompOf(
  { seccomp, seccompProfilePath: path }: LinuxSandboxSecurityContext,
  signal: AbortSignal,
): Promise<InfraSettings["seccomp"]> {
  if (seccomp !== undefined) return await filterOf("seccomp", seccomp, signal);
  const refs = { profileType: ProfileType.Localhost, localhostRef: path.slice("localhost/".length) };
  switch (path) {
    case "":
      return undefined;
    case "runtime/default":
    case "docker/default":
      return "own";
    case "unconfined":
      return "none";
    default:
      if (path.startsWith("localhost/")) return await filterOf("seccomp_profile_path", refs, signal);
      throw invalidField(
        `${CONTEXT}.seccomp_profile_path`,
        `there is no profile ${JSON.stringify(path)}; use seccomp`,
      );
  }
}

async function filterOf(
  member: string,
  { profileType, localhostRef }: Pick<SecurityProfile, "profileType" | "localhostRef">,
  signal: AbortSignal,
): Promise<InfraSettings["seccomp"]> {
  const field = `${CONTEXT}.${member}`;
  if (profileType === ProfileType.RuntimeDefault) return "own";
  if (profileType === ProfileType.Unconfined) return "none";
  if (profileType !== ProfileType.Localhost) {
    throw invalidField(`${field}.profile_type`, `there is no type ${profileType}`);
  }
  if (!localhostRef.startsWith("/")) {
    throw invalidField(`${field}.localhost_ref`, `${JSON.stringify(localhostRef)} is not an absolute path`);
  }
  try {
    return await readSeccompProfile(localhostRef, signal);
  } catch (error) {
    throw error instanceof CniError && error.kind === "usage"
      ? invalidField(`${field}.localhost_ref`, error.message)
      : error;
  }
}

/** podwire has no profile of its own, so that the default one is none. */
function apparmorOf(
  { apparmor: profile }: LinuxSandboxSecurityContext,
  { apparmor: loaded }: SecurityModules,
): string | undefined {
  if (profile?.profileType !== ProfileType.Localhost) return undefined;
  const name = profile.localhostRef.replace(/^localhost\//, "");
  const field = `${CONTEXT}.apparmor`;
  if (loaded === undefined) throw invalidField(field, "the kernel of this node has no AppArmor");
  if (name === "") throw invalidField(`${field}.localhost_ref`, "it is empty");
  if (loaded === "unknown" || loaded.has(name)) return name;
  throw invalidField(`${field}.localhost_ref`, `no profile ${JSON.stringify(name)} is loaded`);
}

const LABEL_PART = /^[A-Za-z0-9_.:,-]*$/;

/** Without SELinux a label says nothing, so that a pod can run on both kinds of nodes, as with containerd and CRI-O. */
function selinuxOf(
  { selinuxOptions: options }: LinuxSandboxSecurityContext,
  { selinux: isOn }: SecurityModules,
): string | undefined {
  if (options === undefined) return undefined;
  for (const member of ["user", "role", "type", "level"] as const) {
    if (LABEL_PART.test(options[member])) continue;
    const field = `${CONTEXT}.selinux_options.${member}`;
    throw invalidField(field, `${JSON.stringify(options[member])} is not part of a label`);
  }
  return isOn ? selinuxLabel(options) : undefined;
}

/** Returns the label of a process; what is not given is as for the processes of all containers. */
export function selinuxLabel(
  { user, role, type, level }: {
    readonly user: string;
    readonly role: string;
    readonly type: string;
    readonly level: string;
  },
): string {
  return [user || "system_u", role || "system_r", type || "container_t", level || "s0"].join(":");
}
