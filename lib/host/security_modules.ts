import type { RunCommand } from "./command.ts";
import { readKernelFiles } from "./kernel_file.ts";

/** How {@linkcode securityModules} reads. */
export interface SecurityModulesOptions {
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The security modules of the kernel that confine a process by a profile or a label. */
export interface SecurityModules {
  /** Names of the profiles of AppArmor that are loaded; `"unknown"` if they may not be read, and undefined without AppArmor. */
  readonly apparmor: ReadonlySet<string> | "unknown" | undefined;
  /** Whether SELinux is on. */
  readonly selinux: boolean;
}

/**
 * Returns which security modules are on.
 *
 * Source: the kernel's `admin-guide/LSM/apparmor.rst`, and selinux(8).
 *
 * Requires as `readKernelFiles`.
 */
export async function securityModules(
  { run, signal }: SecurityModulesOptions = {},
): Promise<SecurityModules> {
  const read = (path: string) => readKernelFiles([path], { run, signal });
  const [apparmor, enforce] = await Promise.all([
    read("/sys/module/apparmor/parameters/enabled"),
    read("/sys/fs/selinux/enforce"),
  ]);
  const selinux = enforce !== "";
  if (apparmor.trim() !== "Y") return { apparmor: undefined, selinux };
  const profiles = await read("/sys/kernel/security/apparmor/profiles");
  if (profiles === "") return { apparmor: "unknown", selinux };
  const names = profiles.split("\n").map((line) => line.replace(/ \([a-z]+\)$/, ""));
  return { apparmor: new Set(names.filter((name) => name !== "")), selinux };
}
