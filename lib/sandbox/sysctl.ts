import { CniError } from "../cni/error.ts";
import { type Kernel, SysctlError } from "../kernel/kernel.ts";
import { isSameValue } from "../kernel/sysctl_value.ts";

/**
 * `net.` and more parts, in the format of `sysctl`: within a part a `/` stands for a dot, as in `eth0/100`. A part that has
 * only slashes would lead to a parent directory.
 */
const NAME = /^net(?:\.[A-Za-z0-9_-][A-Za-z0-9_/-]*)+$/;
/** Those of an IPC namespace that OCI runtimes set. */
const OF_IPC =
  /^(?:kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\.[a-z_]+)$/;
const LONGEST_VALUE = 4096;

/** Whether a sysctl belongs to an IPC namespace. */
export function isIpcSysctl(name: string): boolean {
  return OF_IPC.test(name);
}

/** Returns the sysctls of the network namespace, and those of the IPC namespace. */
export function byNamespace(sysctls: Sysctls): { readonly net: Sysctls; readonly ipc: Sysctls } {
  const { net = [], ipc = [] } = Object.groupBy(
    Object.entries(sysctls),
    ([name]) => isIpcSysctl(name) ? "ipc" : "net",
  );
  return { net: Object.fromEntries(net), ipc: Object.fromEntries(ipc) };
}

/**
 * Refuses a sysctl that belongs neither to a network namespace nor, if the sandbox has one, to an IPC namespace: others belong to
 * the whole machine.
 *
 * @throws {CniError} kind `usage`
 */
export function validateSysctls(
  sysctls: Sysctls,
  { hasIpc = false }: { readonly hasIpc?: boolean } = {},
): void {
  for (const [name, value] of Object.entries(sysctls)) {
    const refuse = (msg: string, details?: string) =>
      new CniError("usage", `the sysctl "${name}" ${msg}`, { path: "sysctls", details });
    if (isIpcSysctl(name)) {
      if (!hasIpc) throw refuse("needs an infra container, which has an IPC namespace of its own");
    } else if (!NAME.test(name)) {
      throw refuse(
        "does not belong to a network namespace",
        "its name has to begin with net., such as net.ipv4.ip_forward",
      );
    }
    if (GLOBAL.test(name)) throw globalError(name);
    if (value.trim() === "") throw refuse("has no value");
    if (/\p{Cc}/u.test(value.replaceAll("\t", ""))) throw refuse("has a value of several lines");
    if (value.length > LONGEST_VALUE) throw refuse(`has a value of more than ${LONGEST_VALUE} characters`);
  }
}

/** These exist once for the whole machine: a write in a child namespace is ignored, or applies to all namespaces. */
const GLOBAL = /^net\.(?:netfilter\.)?nf_conntrack_(?:max|buckets|expect_max|hash_bits)$/;

/** How sysctls are read and set. */
export interface SysctlOptions {
  readonly kernel: Pick<Kernel, "readSysctls" | "writeSysctls">;
  readonly signal?: AbortSignal | undefined;
}

/** Names and values, in the format of `sysctl`. */
export type Sysctls = Readonly<Record<string, string>>;

/** Returns the values of these sysctls inside a network namespace, of those that can be read. Requires the same as {@linkcode setSysctls}. */
export async function sysctlsOf(
  netns: string,
  names: readonly string[],
  { kernel, signal }: SysctlOptions,
): Promise<Sysctls> {
  if (names.length === 0) return {};
  return Object.fromEntries(await readSysctls(names, { kernel, signal, netns }));
}

/**
 * Restores the sysctls of a namespace, unless their values have changed since they were set. It does not use the caller's
 * signal, because a namespace that belongs to another program must not stay changed.
 *
 * Requires the same as {@linkcode setSysctls}.
 */
export async function restoreSysctls(
  netns: string,
  { sysctls, before }: { readonly sysctls: Sysctls; readonly before: Sysctls },
  kernel: SysctlOptions["kernel"],
): Promise<void> {
  const names = Object.keys(before);
  if (names.length === 0) return;
  const now = await readSysctls(names, { kernel, netns });
  const changed = Object.entries(before).filter(([name, value]) => {
    const isAsSet = isSameValue(now.get(name) ?? "", sysctls[name] ?? "");
    return isAsSet && !isSameValue(value, sysctls[name] ?? "");
  });
  await kernel.writeSysctls(byPath(changed), { netns });
}

/**
 * Sets sysctls inside a network namespace, one after another, and reads each of them back. A sysctl that also changed on the
 * host is restored there. A failure may leave some of them set.
 *
 * Requires root, and `--allow-run=cat,nsenter,sh` or the whole `--allow-ffi`.
 *
 * @throws {CniError} that names the first one that cannot be set, or that the kernel did not accept
 */
export async function setSysctls(netns: string, sysctls: Sysctls, options: SysctlOptions): Promise<void> {
  const entries = Object.entries(sysctls);
  if (entries.length === 0) return;
  const { kernel, signal } = options;
  const names = Object.keys(sysctls);
  const ofHost = await readSysctls(names, options);
  const now = await kernel.writeSysctls(byPath(entries), { netns, signal }).catch((error: unknown) => {
    throw error instanceof SysctlError ? sysctlError(error, entries) : error;
  });
  await requireHostUnchanged(sysctls, ofHost, options);
  for (const [name, value] of entries) {
    const kept = now.get(pathOf(name));
    // A sysctl that only triggers an action when it is written cannot be read.
    if (kept === undefined || isSameValue(kept, value)) continue;
    const refused = new CniError(
      "io",
      `Cannot set the sysctl "${name}" to "${value}": the kernel keeps "${kept}"`,
    );
    throw refused.within({ hint: "it may belong to the whole machine, or may not accept this value" });
  }
}

/** In a name of sysctl, dots and slashes are swapped compared to the path. */
function pathOf(name: string): string {
  return name.replace(/[./]/g, (sign) => sign === "." ? "/" : ".");
}

function byPath(sysctls: readonly (readonly [string, string])[]): ReadonlyMap<string, string> {
  return new Map(sysctls.map(([name, value]) => [pathOf(name), value]));
}

/** Returns the values by the names of sysctl. */
async function readSysctls(
  names: readonly string[],
  { kernel, netns, signal }: SysctlOptions & { readonly netns?: string },
): Promise<ReadonlyMap<string, string>> {
  const values = await kernel.readSysctls(names.map(pathOf), { netns, signal });
  return new Map(names.flatMap((name) => {
    const value = values.get(pathOf(name));
    return value === undefined ? [] : [[name, value] as const];
  }));
}

async function requireHostUnchanged(
  sysctls: Readonly<Record<string, string>>,
  before: ReadonlyMap<string, string>,
  options: SysctlOptions,
): Promise<void> {
  const after = await readSysctls(Object.keys(sysctls), options);
  let changed: string | undefined;
  for (const [name, value] of Object.entries(sysctls)) {
    const [was, is] = [before.get(name), after.get(name)];
    if (was === undefined || is === undefined || is === was || !isSameValue(is, value)) continue;
    // Without the caller's signal, because the change must not stay.
    await options.kernel.writeSysctls(byPath([[name, was]]));
    changed ??= name;
  }
  if (changed !== undefined) throw globalError(changed);
}

function globalError(name: string): CniError {
  return new CniError("usage", `the sysctl "${name}" does not belong to a network namespace`, {
    path: "sysctls",
    details: "it applies to the whole machine",
    hint: "set it on the machine: podwire changes nothing outside of the sandbox",
  });
}

function sysctlError(cause: SysctlError, sysctls: readonly (readonly [string, string])[]): CniError {
  const [name, value] = sysctls.find(([name]) => pathOf(name) === cause.sysctl) ?? [cause.sysctl, ""];
  return new CniError("io", `Cannot set the sysctl "${name}" to "${value}": ${cause.why}`, {
    hint: "the sysctls of an interface exist only after a plugin has created it: use net.*.conf.default",
    cause,
  });
}
