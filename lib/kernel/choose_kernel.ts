import type { RunCommand } from "../host/command.ts";
import { IpKernel } from "./ip_kernel.ts";
import type { Kernel } from "./kernel.ts";

const kernels = new WeakMap<RunCommand, Kernel>();

/** Returns the way to the network stack for what runs programs with `run`; it is made once. Requires no permission. */
export function kernelFor(run: RunCommand): Kernel {
  const known = kernels.get(run);
  if (known !== undefined) return known;
  const chosen = choose(run);
  kernels.set(run, chosen);
  return chosen;
}

/** The one place that decides between netlink and programs. */
function choose(run: RunCommand): Kernel {
  return new IpKernel(run);
}
