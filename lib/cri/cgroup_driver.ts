import { readKernelFiles } from "../host/kernel_file.ts";
import { type CGROUP_DRIVERS, isSlice, parentProblem } from "../sandbox/infra_cgroup.ts";
import { invalidField } from "./grpc_error.ts";

/** The driver of the machine, which the kubelet has to share. */
export interface CgroupDriver {
  readonly name: typeof CGROUP_DRIVERS[number];
  /** Whether it was given to podwire, and not found out. */
  readonly isGiven: boolean;
}

/**
 * Returns the driver that was given or, without one, systemd if that is the first process of the machine.
 *
 * Requires as `readKernelFiles`.
 */
export async function cgroupDriver(given: CgroupDriver["name"] | undefined): Promise<CgroupDriver> {
  if (given !== undefined) return { name: given, isGiven: true };
  const first = (await readKernelFiles(["/proc/1/comm"])).trim();
  return { name: first === "systemd" ? "systemd" : "cgroupfs", isGiven: false };
}

/**
 * Refuses a parent that is not one of the driver. Where systemd was only found, a path is taken too: it hinders nothing there.
 *
 * @throws {ConnectError} with `InvalidArgument`
 */
export function requireParent(parent: string, { name, isGiven }: CgroupDriver): void {
  const field = "config.linux.cgroup_parent";
  const problem = parentProblem(parent);
  if (problem !== undefined) throw invalidField(field, problem);
  const own = isSlice(parent) ? "systemd" : "cgroupfs";
  if (own === name || own === "cgroupfs" && !isGiven) return;
  const why = isGiven ? "as --cgroup-driver says" : "because systemd is not the first process here";
  throw invalidField(
    field,
    `${JSON.stringify(parent)} is a name of the cgroup driver ${own}, and podwire has ${name}, ${why}; ` +
      `set cgroupDriver: ${name} in the configuration of the kubelet, or serve with --cgroup-driver=${own}`,
  );
}
