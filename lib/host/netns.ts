import { dirname } from "@std/path/posix";
import { type AttachedOptions, type AttachedOutcome, type AttachedRequest, runAttached } from "./attached.ts";
import {
  type CommandOutcome,
  type CommandRequest,
  HostError,
  type RunCommand,
  runCommand,
  runOk,
} from "./command.ts";
import { ensureDir, listDir, removeIfThere } from "./file.ts";
import { type Lock, lockFile } from "./lock.ts";
import { linkTarget, statOf } from "./stat.ts";

/** Options of the functions that change or enter network namespaces. */
export interface NetnsOptions {
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@linkcode createNetns}. */
export interface CreateNetnsOptions extends NetnsOptions {
  /** The alias of `lo`. @default none */
  readonly alias?: string | undefined;
}

/** The namespace of the process that opens this path. */
const OWN = "/proc/self/ns/net";
/** More mounts on one path cannot be an accident. */
const MOST_MOUNTS = 100;
const LONGEST_SHARE_WAIT_MS = 2_000;

/**
 * Creates a network namespace with a name in the file system, with `lo` up. It lives until {@linkcode removeNetns}; if the
 * path is in `/run/netns`, `ip netns` knows it.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=mount,unshare,umount`.
 *
 * @throws {HostError} With reason `exists` if the path exists; what is there is left as it is. After any failure nothing of
 * the new namespace is left.
 *
 * @example
 * ```ts ignore
 * import { createNetns, removeNetns, runInside } from "./netns.ts";
 *
 * await createNetns("/run/netns/web");
 * console.log((await runInside("/run/netns/web", { program: "ip", args: ["link"] })).stdout);
 * await removeNetns("/run/netns/web");
 * ```
 */
export async function createNetns(path: string, options: CreateNetnsOptions = {}): Promise<void> {
  const { run = runCommand, signal, alias } = options;
  await mountOver(path, options, () =>
    runOk(run, {
      program: "unshare",
      args: [`--net=${path}`, "--", "ip", "link", "set", "lo", "up", ...(alias ? ["alias", alias] : [])],
      signal,
    }));
}

/**
 * Gives the namespace of a process, or of another path, a name in the file system. The namespace then outlives the process.
 *
 * A process ID may belong to another process by now; if that can be, compare {@linkcode netnsId} of the new path with the
 * expected one.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=mount,nsenter,umount`.
 *
 * @throws {HostError} With reason `not-a-netns` if the source is not a network namespace, with `exists` as in
 * {@linkcode createNetns}. After any failure nothing is left at `path`.
 */
export async function pinNetns(
  source: number | string,
  path: string,
  options: NetnsOptions = {},
): Promise<void> {
  const { run = runCommand, signal } = options;
  const from = typeof source === "number" ? `/proc/${source}/ns/net` : source;
  const notNetns = (problem: string, stderr = "") =>
    new HostError(`Cannot pin network namespace "${from}": ${problem}`, { reason: "not-a-netns", stderr });
  const problem = await nsProblem(from);
  if (problem !== undefined) throw notNetns(problem);
  await mountOver(path, options, async () => {
    await runOk(run, { program: "mount", args: ["--bind", from, path], signal });
    // From outside, namespaces of all kinds look alike; only entering one shows its kind. The new path is used for that,
    // because the old one may lead to another process by now.
    const { code, stderr } = await runInside(path, {
      program: "true",
      ownGroup: false,
      signal,
    }, { run });
    signal?.throwIfAborted();
    if (code === 0) return;
    const otherKind = stderr.includes("Invalid argument");
    throw notNetns(
      otherKind ? "is a namespace of another kind" : `cannot be entered: ${stderr.trim()}`,
      stderr,
    );
  });
}

/** Reserves the path, mounts a namespace there, and undoes all of that if it fails. */
async function mountOver(path: string, options: NetnsOptions, mount: () => Promise<unknown>): Promise<void> {
  options.signal?.throwIfAborted();
  checkAbsolute(path);
  await shareDir(dirname(path), options);
  try {
    // Without the bits to write or execute, as `ip netns` does; O_EXCL makes one of two callers the owner.
    (await Deno.open(path, { write: true, createNew: true, mode: 0o444 })).close();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.AlreadyExists)) throw cause;
    const state = await nsProblem(path);
    const message = `Cannot create network namespace "${path}": exists${
      state === undefined ? "" : `, but ${state}`
    }`;
    throw new HostError(message, { reason: "exists", cause });
  }
  try {
    await mount();
  } catch (error) {
    // Without the signal of the caller, which may be the reason for the undo.
    await removeNetns(path, { run: options.run }).catch((left: unknown) => {
      throw new AggregateError(
        [error, left],
        `Cannot create network namespace "${path}": its removal after a failure failed too`,
      );
    });
    throw error;
  }
}

/** A path like `-a` would be an option of `umount`. */
function checkAbsolute(path: string): void {
  if (!path.startsWith("/")) {
    throw new TypeError(`Cannot use "${path}" for a network namespace: not an absolute path`);
  }
}

/**
 * Makes the directory a mount point whose mounts are visible in all mount namespaces, as `ip netns add` does: else a
 * namespace that is removed here would live on in the mount namespaces of other services.
 */
async function shareDir(dir: string, { run = runCommand, signal }: NetnsOptions): Promise<void> {
  const mount = (args: readonly string[]) => ({
    program: "mount",
    args: [...args, dir],
    signal,
  });
  const isShared = async () => {
    const { code } = await run({ ...mount(["--make-rshared"]), ownGroup: false });
    signal?.throwIfAborted();
    return code === 0;
  };
  await ensureDir(dir, 0o755);
  // If it is a shared mount point already, no lock is needed.
  if (await isShared()) return;
  // `ip netns add` takes this lock too, so that the directory is not mounted on itself twice. A second mount would do no
  // harm, and every user may open the directory and hold its lock: for that reason the wait is short.
  using _lock = await lockWithin(LONGEST_SHARE_WAIT_MS, dir, signal);
  if (await isShared()) return;
  await runOk(run, mount(["--rbind", dir]));
  await runOk(run, mount(["--make-rshared"]));
}

/** Takes the lock; undefined if it is held elsewhere for that long. */
async function lockWithin(
  ms: number,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Lock | undefined> {
  const limit = AbortSignal.timeout(ms);
  try {
    return await lockFile(path, { signal: signal === undefined ? limit : AbortSignal.any([signal, limit]) });
  } catch (error) {
    if (signal?.aborted || !limit.aborted) throw error;
    return undefined;
  }
}

/**
 * Removes the name of a network namespace, with all mounts on the path, also if they are in use; processes inside keep the
 * namespace until they end. Also removes an empty file that a crash left behind. Returns false if nothing is there.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=umount`.
 *
 * @throws {HostError} With reason `not-a-netns` if something else is at the path; it is left as it is.
 */
export async function removeNetns(
  path: string,
  { run = runCommand, signal }: NetnsOptions = {},
): Promise<boolean> {
  checkAbsolute(path);
  for (let mounts = 0; mounts < MOST_MOUNTS; mounts++) {
    const found = await inspectPath(path);
    if (found.kind === "missing") return false;
    if (found.kind === "empty-file") return await removeIfThere(path);
    if (found.kind !== "namespace" || found.link) {
      const problem = found.kind === "namespace" ? "is a symbolic link" : found.problem;
      throw new HostError(`Cannot remove network namespace "${path}": ${problem}`, { reason: "not-a-netns" });
    }
    // Lazily, as `ip netns delete` does: a process that uses the mount must not keep it in place.
    await runOk(run, { program: "umount", args: ["-l", path], signal }).catch(
      async (error) => {
        // Another process may have been faster.
        signal?.throwIfAborted();
        const now = await inspectPath(path);
        if (now.kind === "namespace" && now.id === found.id) throw error;
      },
    );
  }
  throw new HostError(`Cannot remove network namespace "${path}": mounted more than ${MOST_MOUNTS} times`);
}

/**
 * Returns the identity of the namespace that a path leads to; it is equal for all paths of one namespace, and the kernel
 * uses it again when the namespace is gone. Undefined if there is no namespace. Requires `--allow-read`.
 */
export async function netnsId(path: string): Promise<string | undefined> {
  const found = await inspectPath(path);
  return found.kind === "namespace" ? found.id : undefined;
}

/** Whether two paths lead to the same namespace. Requires `--allow-read`. */
export async function sameNetns(a: string, b: string): Promise<boolean> {
  const [x, y] = await Promise.all([netnsId(a), netnsId(b)]);
  return x !== undefined && x === y;
}

/**
 * Returns why a path cannot be used as a network namespace, as a predicate such as "does not exist"; undefined if it can.
 * Requires `--allow-read`.
 */
export async function nsProblem(path: string): Promise<string | undefined> {
  const found = await inspectPath(path);
  return found.kind === "namespace" ? undefined : found.problem;
}

/**
 * Returns the processes in the namespace of a path, in no order. Requires `--allow-read`, for `/proc` too; only root sees
 * those of other users.
 */
export async function netnsProcesses(path: string): Promise<number[]> {
  const id = await netnsId(path);
  if (id === undefined) return [];
  const pids = (await listDir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const inside = await Promise.all(pids.map(async (pid) => await netnsOf(pid) === id));
  return pids.filter((_, index) => inside[index]);
}

/**
 * Returns the {@linkcode netnsId} of the namespace of a process. A process that has ended has none, even before its parent
 * notices the end. Only root sees processes of other users. Requires `--allow-read` for `/proc`.
 */
export async function netnsOf(pid: number): Promise<string | undefined> {
  try {
    const there = await statOf(`/proc/${pid}/ns/net`);
    return there && `${there.dev}:${there.ino}`;
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) return undefined;
    // ESRCH: the process is ending now.
    if (error instanceof Error && error.message.includes("(os error 3)")) return undefined;
    throw error;
  }
}

/**
 * Runs a program inside a network namespace. If the namespace cannot be entered, the exit code is 1; if the program cannot
 * be started, it is 126 or 127. Standard error has the reason.
 *
 * Requires root and `--allow-run=nsenter`.
 */
export function runInside(
  path: string,
  request: CommandRequest,
  { run = runCommand }: Pick<NetnsOptions, "run"> = {},
): Promise<CommandOutcome> {
  return run({ ...request, ...enter(path, request) });
}

/** Runs a program inside a network namespace on the terminal of this process, see {@linkcode runAttached}. */
export function runAttachedInside(
  path: string,
  request: AttachedRequest,
  options: AttachedOptions = {},
): Promise<AttachedOutcome> {
  return runAttached({ ...request, ...enter(path, request) }, options);
}

function enter(
  path: string,
  { program, args = [] }: { program: string; args?: readonly string[] | undefined },
) {
  return { program: "nsenter", args: [`--net=${path}`, "--", program, ...args] };
}

type Found =
  | { readonly kind: "namespace"; readonly id: string; readonly link: boolean }
  | { readonly kind: "missing" | "empty-file" | "other"; readonly problem: string };

/** Inspects without opening: files under /proc cannot be opened without full permissions. */
async function inspectPath(path: string): Promise<Found> {
  try {
    const [link, there, device] = await Promise.all([
      linkTarget(path),
      statOf(path),
      namespaceDevice(),
    ]);
    if (there === undefined) {
      if (link === undefined || isNsLink(link)) return { kind: "missing", problem: "does not exist" };
      return { kind: "other", problem: `is a symbolic link to "${link}", which does not exist` };
    }
    const via = link === undefined ? "" : `a symbolic link to "${link}", `;
    if (there.isDirectory) return { kind: "other", problem: `is ${via}a directory` };
    // All namespaces are files of one device, which has no other files.
    if (there.dev === device) {
      const kind = link && /^(\w+):\[/.exec(link)?.[1];
      if (kind && kind !== "net") {
        return { kind: "other", problem: `is a namespace of another kind (${kind})` };
      }
      return { kind: "namespace", id: `${there.dev}:${there.ino}`, link: link !== undefined };
    }
    const problem = `is ${via}a plain file, not a network namespace`;
    return { kind: there.isFile && there.size === 0 && link === undefined ? "empty-file" : "other", problem };
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) return { kind: "other", problem: "permission denied" };
    if (error instanceof Deno.errors.NotADirectory) return { kind: "missing", problem: "does not exist" };
    throw error;
  }
}

let ownDevice: number | undefined;

/** The device of all namespaces; it does not change while the machine is up. */
async function namespaceDevice(): Promise<number | undefined> {
  ownDevice ??= (await statOf(OWN))?.dev;
  return ownDevice;
}

function isNsLink(target: string): boolean {
  return /^\w+:\[\d+\]$/.test(target);
}
