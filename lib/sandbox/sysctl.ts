import { HostError, type RunCommand, runOk } from "../host/command.ts";
import { runInside } from "../host/netns.ts";
import { CniError } from "../cni/error.ts";

/**
 * `net.` and more parts, as `sysctl` takes them: in a part a `/` stands for a dot, as in `eth0/100`. A part of nothing
 * else would lead upwards.
 */
const NAME = /^net(?:\.[A-Za-z0-9_-][A-Za-z0-9_/-]*)+$/;
const LONGEST_VALUE = 4096;

/**
 * Refuses what is no sysctl of a network namespace: others are those of the whole machine, or of a namespace that a
 * sandbox does not have.
 *
 * @throws {CniError} kind `usage`
 */
export function validateSysctls(sysctls: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(sysctls)) {
    const refuse = (msg: string, details?: string) =>
      new CniError("usage", `the sysctl "${name}" ${msg}`, { path: "sysctls", ...(details && { details }) });
    if (!NAME.test(name)) {
      throw refuse(
        "is none of a network namespace",
        "its name has to begin with net., as net.ipv4.ip_forward",
      );
    }
    if (GLOBAL.test(name)) throw globalError(name);
    if (value.trim() === "") throw refuse("has no value");
    if (/\p{Cc}/u.test(value.replaceAll("\t", ""))) throw refuse("has a value of several lines");
    if (value.length > LONGEST_VALUE) throw refuse(`has a value of more than ${LONGEST_VALUE} characters`);
  }
}

/** Of these there is one for the whole machine; what a child namespace writes is dropped, or holds for all. */
const GLOBAL = /^net\.(?:netfilter\.)?nf_conntrack_(?:max|buckets|expect_max|hash_bits)$/;

/** Prints what each file holds, one a line with a mark before it; nothing for one that cannot be read. */
const READ = `for path; do
  value=$(cat "/proc/sys/$path" 2>/dev/null) && printf '=%s\\n' "$value" || echo
done`;

/** How sysctls are read and set. */
export interface SysctlOptions {
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
}

/** Names and values, as `sysctl` takes them. */
export type Sysctls = Readonly<Record<string, string>>;

/** The values that these sysctls have inside a network namespace, of those that can be read. Requires as {@linkcode setSysctls}. */
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
 * Gives the sysctls of a namespace, as far as they are as they were set, the values that they had before. Not with the
 * caller's signal: what is another's must not stay changed.
 *
 * Requires as {@linkcode setSysctls}.
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
      await runOk(inside, writing(name, value, undefined));
    }
  }
}

/**
 * Sets sysctls inside a network namespace, one after another, and reads each of them back. One that turns out to be of
 * the whole machine is set back there. A failure may leave some of them set.
 *
 * Requires root, `--allow-run=nsenter,sh`.
 *
 * @throws {CniError} with the first that cannot be set, or that the kernel did not take, naming it
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
      await runOk(inside, writing(name, value, signal));
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      throw sysctlError(name, value, cause);
    }
  }
  await requireHostUnchanged(sysctls, ofHost, options);
  const now = await readSysctls(names, inside, options);
  for (const [name, value] of Object.entries(sysctls)) {
    const kept = now.get(name);
    // One that only does something when it is written cannot be read.
    if (kept === undefined || isSameValue(kept, value)) continue;
    const refused = new CniError(
      "io",
      `Cannot set the sysctl "${name}" to "${value}": the kernel keeps "${kept}"`,
    );
    throw refused.within({ hint: "it may be of the whole machine, or not take this value" });
  }
}

function writing(name: string, value: string, signal: AbortSignal | undefined) {
  return { program: "sysctl", args: ["-q", "-w", `${name}=${value}`], signal };
}

async function readSysctls(
  names: readonly string[],
  run: RunCommand,
  { signal }: SysctlOptions,
): Promise<ReadonlyMap<string, string>> {
  // In a name as sysctl takes it dots and slashes have changed places.
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
    // Not with the caller's signal: it must not stay.
    await runOk(options.run, writing(name, was, undefined));
    changed ??= name;
  }
  if (changed !== undefined) throw globalError(changed);
}

function globalError(name: string): CniError {
  return new CniError("usage", `the sysctl "${name}" is none of a network namespace`, {
    path: "sysctls",
    details: "it holds for the whole machine",
    hint: "set it on the machine: podwire changes nothing outside of the sandbox",
  });
}

/** The kernel prints numbers, blanks and lists of ranges in its own way. */
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

/** As in `net.ipv4.ip_local_reserved_ports`: in order, and neighbours in one. */
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
    hint: "one of an interface is there only once a plugin has made that: use net.*.conf.default",
    cause,
  });
}
