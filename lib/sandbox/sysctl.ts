import { CniError } from "../cni/error.ts";
import { HostError, type RunCommand, runOk } from "../host/command.ts";
import { runInside } from "../host/netns.ts";

/**
 * `net.` and more parts, in the format of `sysctl`: within a part a `/` stands for a dot, as in `eth0/100`. A part that has
 * only slashes would lead to a parent directory.
 */
const NAME = /^net(?:\.[A-Za-z0-9_-][A-Za-z0-9_/-]*)+$/;
const LONGEST_VALUE = 4096;

/**
 * Refuses a sysctl that does not belong to a network namespace: others belong to the whole machine, or to a namespace that a
 * sandbox does not have.
 *
 * @throws {CniError} kind `usage`
 */
export function validateSysctls(sysctls: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(sysctls)) {
    const refuse = (msg: string, details?: string) =>
      new CniError("usage", `the sysctl "${name}" ${msg}`, { path: "sysctls", details });
    if (!NAME.test(name)) {
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

/** Prints one line for each file: `=` and its content, or an empty line if it cannot be read. */
const READ = `for path; do
  value=$(cat "/proc/sys/$path" 2>/dev/null) && printf '=%s\\n' "$value" || echo
done`;

/** How sysctls are read and set. */
export interface SysctlOptions {
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
}

/** Names and values, in the format of `sysctl`. */
export type Sysctls = Readonly<Record<string, string>>;

/** Returns the values of these sysctls inside a network namespace, of those that can be read. Requires the same as {@linkcode setSysctls}. */
export async function sysctlsOf(
  netns: string,
  names: readonly string[],
  { run, signal }: SysctlOptions,
): Promise<Sysctls> {
  if (names.length === 0) return {};
  return Object.fromEntries(
    await readSysctls(names, insideOf(netns, run), { run, signal }),
  );
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
  run: RunCommand,
): Promise<void> {
  const names = Object.keys(before);
  if (names.length === 0) return;
  const inside = insideOf(netns, run);
  const now = await readSysctls(names, inside, { run });
  for (const [name, value] of Object.entries(before)) {
    const isAsSet = isSameValue(now.get(name) ?? "", sysctls[name] ?? "");
    if (isAsSet && !isSameValue(value, sysctls[name] ?? "")) {
      await runOk(inside, writeRequest(name, value, undefined));
    }
  }
}

/**
 * Sets sysctls inside a network namespace, one after another, and reads each of them back. A sysctl that also changed on the
 * host is restored there. A failure may leave some of them set.
 *
 * Requires root, `--allow-run=nsenter,sh`.
 *
 * @throws {CniError} that names the first one that cannot be set, or that the kernel did not accept
 */
export async function setSysctls(netns: string, sysctls: Sysctls, options: SysctlOptions): Promise<void> {
  if (Object.keys(sysctls).length > 0) await setAll(insideOf(netns, options.run), sysctls, options);
}

function insideOf(netns: string, run: RunCommand): RunCommand {
  return (request) => runInside(netns, request, { run });
}

async function setAll(
  inside: RunCommand,
  sysctls: Readonly<Record<string, string>>,
  options: SysctlOptions,
): Promise<void> {
  const { run, signal } = options;
  const names = Object.keys(sysctls);
  const ofHost = await readSysctls(names, run, options);
  for (const [name, value] of Object.entries(sysctls)) {
    try {
      await runOk(inside, writeRequest(name, value, signal));
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      throw sysctlError(name, value, cause);
    }
  }
  await requireHostUnchanged(sysctls, ofHost, options);
  const now = await readSysctls(names, inside, options);
  for (const [name, value] of Object.entries(sysctls)) {
    const kept = now.get(name);
    // A sysctl that only triggers an action when it is written cannot be read.
    if (kept === undefined || isSameValue(kept, value)) continue;
    const refused = new CniError(
      "io",
      `Cannot set the sysctl "${name}" to "${value}": the kernel keeps "${kept}"`,
    );
    throw refused.within({ hint: "it may belong to the whole machine, or may not accept this value" });
  }
}

function writeRequest(name: string, value: string, signal: AbortSignal | undefined) {
  return { program: "sysctl", args: ["-q", "-w", `${name}=${value}`], signal };
}

async function readSysctls(
  names: readonly string[],
  run: RunCommand,
  { signal }: SysctlOptions,
): Promise<ReadonlyMap<string, string>> {
  // In a name of sysctl, dots and slashes are swapped compared to the path.
  const paths = names.map((name) => name.replace(/[./]/g, (sign) => sign === "." ? "/" : "."));
  const { stdout } = await runOk(run, {
    program: "sh",
    args: ["-c", READ, "sh", ...paths],
    signal,
  });
  const lines = stdout.split("\n");
  return new Map(names.flatMap((name, index) => {
    const line = lines[index] ?? "";
    return line.startsWith("=") ? [[name, line.slice(1)] as const] : [];
  }));
}

async function requireHostUnchanged(
  sysctls: Readonly<Record<string, string>>,
  before: ReadonlyMap<string, string>,
  options: SysctlOptions,
): Promise<void> {
  const after = await readSysctls(Object.keys(sysctls), options.run, options);
  let changed: string | undefined;
  for (const [name, value] of Object.entries(sysctls)) {
    const [was, is] = [before.get(name), after.get(name)];
    if (was === undefined || is === undefined || is === was || !isSameValue(is, value)) continue;
    // Without the caller's signal, because the change must not stay.
    await runOk(options.run, writeRequest(name, was, undefined));
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

/** The kernel prints numbers, spaces and lists of ranges in its own format. */
function isSameValue(kept: string, wanted: string): boolean {
  return normalValue(kept) === normalValue(wanted);
}

function normalValue(text: string): string {
  const words = text.trim().split(/\s+/).map((word) =>
    /^[+-]?\d+$/.test(word) ? String(BigInt(word.replace("+", ""))) : word
  );
  const [list = "", ...more] = words;
  return more.length === 0 && /^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/.test(list)
    ? normalRanges(list)
    : words.join(" ");
}

/** As in `net.ipv4.ip_local_reserved_ports`: sorted, with adjacent ranges merged. */
function normalRanges(list: string): string {
  const ranges = list.split(",").map((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return { first, last };
  }).sort((a, b) => a.first - b.first);
  const merged: { first: number; last: number }[] = [];
  for (const range of ranges) {
    const open = merged.at(-1);
    if (open !== undefined && range.first <= open.last + 1) open.last = Math.max(open.last, range.last);
    else merged.push({ ...range });
  }
  return merged.map(({ first, last }) => first === last ? `${first}` : `${first}-${last}`).join(",");
}

function sysctlError(name: string, value: string, cause: HostError): CniError {
  const words = cause.stderr.trim().split("\n").at(-1) || cause.message;
  return new CniError("io", `Cannot set the sysctl "${name}" to "${value}": ${words}`, {
    exitCode: cause.code,
    hint: "the sysctls of an interface exist only after a plugin has created it: use net.*.conf.default",
    cause,
  });
}
