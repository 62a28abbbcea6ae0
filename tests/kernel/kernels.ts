// The implementations that the suite tests.
import { runCommand } from "../../lib/host/command.ts";
import { IpKernel } from "../../lib/kernel/ip_kernel.ts";
import type { Kernel } from "../../lib/kernel/kernel.ts";
import { NetlinkKernel } from "../../lib/kernel/netlink_kernel.ts";
import { HAS_LIBC } from "../open_libc.ts";

/** One way to speak to the kernel. */
export interface TestedKernel {
  readonly name: string;
  /** Whether this machine and Deno have what it needs. */
  readonly isHere: boolean;
  readonly make: () => Kernel;
}

export const KERNELS: readonly TestedKernel[] = [
  { name: "NetlinkKernel", isHere: HAS_LIBC, make: () => new NetlinkKernel() },
  { name: "IpKernel", isHere: true, make: () => new IpKernel(runCommand) },
];
