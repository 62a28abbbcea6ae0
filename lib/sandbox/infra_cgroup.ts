import { dirname } from "@std/path/posix";
import { CniError } from "../cni/error.ts";
import { readTextIfThere, writeFileSynced } from "../host/file.ts";
import { type RunCommand, runOk } from "../host/command.ts";
import { readKernelFiles } from "../host/kernel_file.ts";

/** Who makes the control groups of a machine: each program itself, or systemd. The kubelet has the same words. */
export const CGROUP_DRIVERS = ["cgroupfs", "systemd"] as const;

/** The control group of an infra container. */
export interface InfraCgroup {
  /** As the kernel shows it. */
  readonly path: string;
  /** `linux.cgroupsPath` of the OCI runtime specification. */
  readonly ociPath: string;
  /**
   * Whether systemd makes and removes it. systemd also makes the slices that are missing above it, and keeps them: to stop a slice
   * would end whatever another program has just put into it.
   */
  readonly isSystemd: boolean;
}

/** How control groups are made and removed. */
interface CgroupOptions {
  readonly run: RunCommand;
  /** Search path of programs, in the format of the variable `PATH`. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

const LONGEST_NAME = 255;
/** systemd splits at the dash, so there is a name on both sides of each. */
const SLICE = /^(?:[A-Za-z0-9:_.\\@]+(?:-[A-Za-z0-9:_.\\@]+)*|-)\.slice$/;

/** Whether a parent is the name of a slice of systemd, or ends in one, as a kubelet gives it. */
export function isSlice(parent: string): boolean {
  return parent.endsWith(".slice");
}

/** Returns why no control group can be below that parent; undefined if one can. */
export function parentProblem(parent: string): string | undefined {
  const shown = JSON.stringify(parent);
  const names = parent.split("/");
  if (isSlice(parent)) {
    return SLICE.test(names.at(-1) ?? "") ? undefined : `${shown} is not the name of a slice of systemd`;
  }
  if (names[0] !== "") return `${shown} is neither a path that begins with "/" nor the name of a slice`;
  // deno-lint-ignore no-control-regex
  const isWrong = (name: string) => name === "." || name === ".." || /[\0-\x1f:]/.test(name);
  if (!names.some((name) => isWrong(name) || name.length > LONGEST_NAME)) return undefined;
  return `${shown} is not the path of a control group`;
}

/**
 * Returns the control group of a sandbox's infra container. Without a parent it is below the root, where the runtime makes and
 * removes it alone.
 *
 * @throws {CniError} kind `usage` if there can be no such parent
 */
export function infraCgroup(id: string, parent?: string): InfraCgroup {
  if (parent === undefined) return { path: `/podwire-${id}`, ociPath: `/podwire-${id}`, isSystemd: false };
  const problem = parentProblem(parent);
  if (problem !== undefined) throw new CniError("usage", problem, { path: "cgroupParent" });
  const last = parent.split("/").at(-1) ?? "";
  if (isSlice(parent)) {
    const path = `${pathOfSlice(last)}/podwire-${id}.scope`;
    return { path, ociPath: `${last}:podwire:${id}`, isSystemd: true };
  }
  const path = `/${[...namesOf(parent), `podwire-${id}`].join("/")}`;
  return { path, ociPath: path, isSystemd: false };
}

/** A slice is below those whose names begin its own: `a-b.slice` is in `a.slice`. */
function pathOfSlice(slice: string): string {
  const parts = slice.slice(0, -".slice".length).split("-").filter((part) => part !== "");
  return parts.map((_, at) => `/${parts.slice(0, at + 1).join("-")}.slice`).join("");
}

/**
 * Makes the control group of an infra container and what is missing above it, in each hierarchy, unless systemd does so. Each one
 * above it that was made is remembered by its inode, which no other gets until the next boot.
 *
 * Requires `--allow-run=sh,cat` and root.
 */
export async function makeCgroup(bundle: string, cgroup: InfraCgroup, options: CgroupOptions): Promise<void> {
  await writeFileSynced(fileIn(bundle), cgroup.path, { durable: "text" });
  if (!cgroup.isSystemd) await inHierarchies(MAKE, bundle, cgroup.path, options);
}

/**
 * Removes the control group of an infra container, and those above it that podwire made and in which nothing is left. It is no
 * error if there is none.
 *
 * Requires as {@linkcode makeCgroup}.
 */
export async function removeCgroup(bundle: string, options: CgroupOptions): Promise<void> {
  const path = await cgroupIn(bundle);
  if (path !== undefined && !path.endsWith(".scope")) await inHierarchies(REMOVE, bundle, path, options);
}

/** Returns the path of the control group that a bundle names; undefined if it is the one below the root. */
export async function cgroupIn(bundle: string): Promise<string | undefined> {
  return await readTextIfThere(fileIn(bundle)) || undefined;
}

function fileIn(bundle: string): string {
  return `${bundle}/cgroup`;
}

/** Folder of what podwire made above the control groups of infra containers: one folder for each boot, with a file for each. */
function marksOf(bundle: string): string {
  return `${dirname(dirname(bundle))}/cgroups`;
}

function namesOf(path: string): readonly string[] {
  return path.split("/").filter((name) => name !== "");
}

/**
 * `$1` is the folder of the marks, `$2` the control group, `$3` lists the hierarchies, and then follow the groups above it,
 * outermost first. One that existed may be removed meanwhile by the sandbox that made it, so it is tried again.
 */
const MAKE = `
marks=$1 own=$2 tops=$3; shift 3
boot=$(cat /proc/sys/kernel/random/boot_id)
for old in "$marks"/*; do [ "$old" = "$marks/$boot" ] || rm -rf "$old"; done
for top in $tops; do
  try=1
  until
    why=
    for group; do
      if why=$(mkdir "$top$group" 2>&1); then
        mkdir -p -m 700 "$marks" "$marks/$boot"
        echo "$top$group" >"$marks/$boot/$(stat -c %d-%i "$top$group")"
      elif [ -d "$top$group" ]; then why=
      else break; fi
    done
    [ -n "$why" ] || why=$(mkdir "$top$own" 2>&1) || [ ! -d "$top$own" ] || why=
    [ -z "$why" ]
  do
    [ $try -lt 5 ] || { echo "$why" >&2; exit 1; }
    try=$((try + 1))
  done
done`;

/** As {@linkcode MAKE}, with the innermost group first. The kernel may take a moment to notice the end of a process. */
const REMOVE = `
marks=$1 own=$2 tops=$3; shift 3
boot=$(cat /proc/sys/kernel/random/boot_id)
left=
for top in $tops; do
  try=1
  while [ -d "$top$own" ] && ! why=$(rmdir "$top$own" 2>&1); do
    [ $try -lt 10 ] || { left=$why; break; }
    try=$((try + 1))
    sleep 0.1
  done
  for group; do
    mark=$marks/$boot/$(stat -c %d-%i "$top$group" 2>/dev/null)
    [ ! -f "$mark" ] || ! rmdir "$top$group" 2>/dev/null || rm -f "$mark"
  done
done
[ ! -d "$marks/$boot" ] || rmdir "$marks/$boot" "$marks" 2>/dev/null
[ -z "$left" ] || { echo "$left" >&2; exit 1; }`;

async function inHierarchies(
  script: string,
  bundle: string,
  path: string,
  { run, path: programs, signal }: CgroupOptions,
): Promise<void> {
  const tops = await hierarchies({ run, signal });
  const above = namesOf(path).slice(0, -1).map((_, at, names) => `/${names.slice(0, at + 1).join("/")}`);
  const groups = script === REMOVE ? above.toReversed() : above;
  await runOk(run, {
    program: "sh",
    args: ["-c", script, "sh", marksOf(bundle), path, tops.join(" "), ...groups],
    env: { PATH: programs, LC_ALL: "C" },
    signal,
  });
}

/** Returns where the hierarchies of control groups are mounted: one, or with their first version one for each controller. */
async function hierarchies(
  { run, signal }: Pick<CgroupOptions, "run" | "signal">,
): Promise<readonly string[]> {
  const mounts = await readKernelFiles(["/proc/self/mountinfo"], { run, signal });
  const byDevice = new Map<string, string>();
  for (const line of mounts.split("\n")) {
    const [, , device = "", , target = "", ...rest] = line.split(" ");
    const type = rest[rest.indexOf("-") + 1] ?? "";
    if (/^cgroup2?$/.test(type) && target.startsWith("/sys/fs/cgroup")) byDevice.set(device, target);
  }
  return [...byDevice.values()];
}
