import {
  type LinuxPodSandboxConfig,
  type LinuxSandboxSecurityContext,
  SecurityProfile_ProfileType,
} from "./generated/api_pb.ts";
import { invalidField } from "./grpc_error.ts";

const CONTEXT = "config.linux.security_context";

/**
 * Refuses what an infra container cannot have. Its process has no privileges, a user of its own, a read-only root and a filter of
 * system calls in any case, so whatever asks for no more than that is met. A sandbox without an infra container has no process that
 * these options could be about: they stay on record.
 *
 * @throws {ConnectError} with `InvalidArgument`
 */
export function requireInfraOptions(linux: LinuxPodSandboxConfig | undefined): void {
  if (linux === undefined) return;
  if (linux.cgroupParent !== "") {
    throw invalidField(
      "config.linux.cgroup_parent",
      "the infra container of podwire has a cgroup of its own",
    );
  }
  const { securityContext: context } = linux;
  if (context === undefined) return;
  for (const [field, problem] of problemsOf(context)) {
    if (problem !== undefined) throw invalidField(`${CONTEXT}.${field}`, problem);
  }
}

function problemsOf(
  context: LinuxSandboxSecurityContext,
): readonly (readonly [field: string, problem: string | undefined])[] {
  const { selinuxOptions, runAsUser, runAsGroup, supplementalGroups, privileged } = context;
  const { seccomp, apparmor, seccompProfilePath } = context;
  const isLocal = (profile: typeof seccomp) => profile?.profileType === SecurityProfile_ProfileType.Localhost;
  const own = "the process of the infra container has a user of its own";
  return [
    ["selinux_options", selinuxOptions && "podwire gives the infra container no label"],
    ["run_as_user", runAsUser && own],
    ["run_as_group", runAsGroup && own],
    ["supplemental_groups", supplementalGroups.length > 0 ? own : undefined],
    ["privileged", privileged ? "the infra container has no privileges" : undefined],
    ["seccomp", isLocal(seccomp) ? "the infra container has a profile of its own" : undefined],
    ["seccomp_profile_path", seccompProfilePath.startsWith("localhost/") ? "use seccomp" : undefined],
    ["apparmor", isLocal(apparmor) ? "podwire gives the infra container no profile" : undefined],
  ];
}
