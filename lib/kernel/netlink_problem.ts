import type { KernelProblem } from "./kernel.ts";

const PROBLEMS: Readonly<Record<string, KernelProblem>> = {
  EEXIST: "exists",
  ENODEV: "missing",
  ENOENT: "missing",
  ENOTDIR: "missing",
  ENXIO: "missing",
  ESRCH: "missing",
  EADDRNOTAVAIL: "missing",
};

/** Returns what the symbolic name of the kernel's reason, such as `EEXIST`, means for callers. */
export function problemOf(errno: string): KernelProblem {
  return PROBLEMS[errno] ?? "other";
}
