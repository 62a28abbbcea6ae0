import {
  type CommandOutcome,
  type CommandRequest,
  HostError,
  type RunCommand,
  runCommand,
  runOk,
} from "./command.ts";
import { type AttachedOptions, type AttachedOutcome, type AttachedRequest, runAttached } from "./attached.ts";
import { ensureDir, listDir, removeIfThere } from "./file.ts";
import { type Lock, lockFile } from "./lock.ts";
import { linkTarget, statOf } from "./stat.ts";
import { dirname } from "@std/path/posix";

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

/** The namespace that a process which opens it is in. */
const OWN = "/proc/self/ns/net";
/** More mounts on one path than this are not an accident. */
const MOST_MOUNTS = 100;
const LONGEST_SHARE_WAIT_MS = 2_000;

/**
 * Makes a network namespace with a name in the file system, with `lo` up. It lives until
 * {@linkcode removeNetns}; made in `/run/netns`, `ip netns` knows it.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=mount,unshare,umount`.
 *
 * @throws {HostError} With reason `exists` if something is at that path, which is left as it is. After any failure
 * nothing of the new namespace is left.
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
 * Gives a namespace that a process is in, or that has another path, a name in the file system. It then outlives
 * that process.
 *
 * A process ID may have passed to another process since it was learned; where that can be, compare
 * {@linkcode netnsId} of the new path with what is expected.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=mount,nsenter,umount`.
 *
 * @throws {HostError} With reason `not-a-netns` if the source is no network namespace, with `exists` as
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
    // Namespaces of all kinds look alike from outside; entering tells. Asked of the new path, which cannot change
    // any more, as the process behind the old one may.
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
    // Without the bits to write or execute, as `ip netns` has it; O_EXCL makes one of two callers the owner.
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
    // Not with the caller's signal, which may be why this is needed.
    await removeNetns(path, { ...(options.run && { run: options.run }) }).catch((left: unknown) => {
      throw new AggregateError([error, left], `Cannot create network namespace "${path}", nor undo that`);
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
 * Makes the directory a mount point whose mounts show in all mount namespaces, as `ip netns add` does: else a
 * namespace removed here would live on in those of other services.
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
  // Once it is a mount point there is nothing to lock for.
  if (await isShared()) return;
  // `ip netns add` takes this lock too, so that the directory is not mounted on itself twice. That would do no harm, and
  // every user may open the directory and hold its lock: so it is not waited for without end.
  using _lock = await lockWithin(LONGEST_SHARE_WAIT_MS, dir, signal);
  if (await isShared()) return;
  await runOk(run, mount(["--rbind", dir]));
  await runOk(run, mount(["--make-rshared"]));
}

/** The lock, or nothing if others hold it for that long. */
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
 * Removes the name of a network namespace with all that is mounted there, also if that is in use; processes inside
 * keep the namespace until they end. Takes an empty file that a crash left behind, too. False if there is nothing.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=umount`.
 *
 * @throws {HostError} With reason `not-a-netns` if something else is at that path, which is left as it is.
 */
export async function removeNetns(
  path: string,
  { run = runCommand, signal }: NetnsOptions = {},
): Promise<boolean> {
  checkAbsolute(path);
  for (let mounts = 0; mounts < MOST_MOUNTS; mounts++) {
    const found = await lookAt(path);
    if (found.kind === "missing") return false;
    if (found.kind === "empty-file") return await removeIfThere(path);
    if (found.kind !== "namespace" || found.link) {
      const problem = found.kind === "namespace" ? "is a symbolic link" : found.problem;
      throw new HostError(`Cannot remove network namespace "${path}": ${problem}`, { reason: "not-a-netns" });
    }
    // Lazily, as `ip netns delete` does: a process that looks into the mount must not keep it in place.
    await runOk(run, { program: "umount", args: ["-l", path], signal }).catch(
      async (error) => {
        // Somebody else may have been faster.
        signal?.throwIfAborted();
        const now = await lookAt(path);
        if (now.kind === "namespace" && now.id === found.id) throw error;
      },
    );
  }
  throw new HostError(`Cannot remove network namespace "${path}": mounted more than ${MOST_MOUNTS} times`);
}

/**
 * The identity of the namespace that a path leads to; equal for all paths of one namespace, and used again by the
 * kernel once that is gone. Undefined if there is no namespace. Requires `--allow-read`.
 */
export async function netnsId(path: string): Promise<string | undefined> {
  const found = await lookAt(path);
  return found.kind === "namespace" ? found.id : undefined;
}

/** Whether two paths lead to one and the same namespace. Requires `--allow-read`. */
export async function sameNetns(a: string, b: string): Promise<boolean> {
  const [x, y] = await Promise.all([netnsId(a), netnsId(b)]);
  return x !== undefined && x === y;
}

/**
 * Why a path cannot be used as a network namespace, in words that follow "is" or stand alone, or undefined if it
 * can. Requires `--allow-read`.
 */
export async function nsProblem(path: string): Promise<string | undefined> {
  const found = await lookAt(path);
  return found.kind === "namespace" ? undefined : found.problem;
}

/**
 * The processes that are in the namespace of a path, in no order. Requires `--allow-read`, for `/proc` too; those of
 * other users are seen by root alone.
 */
export async function netnsProcesses(path: string): Promise<number[]> {
  const id = await netnsId(path);
  if (id === undefined) return [];
  const pids = (await listDir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const inside = await Promise.all(pids.map(async (pid) => await netnsOf(pid) === id));
  return pids.filter((_, index) => inside[index]);
}

/**
 * As {@linkcode netnsId}, for a process; one that has ended has no namespace, also while its parent has not noticed. Those
 * of other users are seen by root alone. Requires `--allow-read` for `/proc`.
 */
export async function netnsOf(pid: number): Promise<string | undefined> {
  try {
    const there = await statOf(`/proc/${pid}/ns/net`);
    return there && `${there.dev}:${there.ino}`;
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) return undefined;
    // ESRCH: it is just ending.
    if (error instanceof Error && error.message.includes("(os error 3)")) return undefined;
    throw error;
  }
}

/**
 * Runs a program inside a network namespace. That it cannot be entered, and that the program cannot be started, is
 * told by the exit codes 1 and 126 or 127 and by standard error.
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

/** Runs a program inside a network namespace as {@linkcode runAttached} does outside. */
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

/** Without opening it, which a program may not do to files under /proc without full permissions. */
async function lookAt(path: string): Promise<Found> {
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
    // All namespaces are files of one device, which nothing else is on.
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

/** That of all namespaces, as long as the machine is up. */
async function namespaceDevice(): Promise<number | undefined> {
  ownDevice ??= (await statOf(OWN))?.dev;
  return ownDevice;
}

function isNsLink(target: string): boolean {
  return /^\w+:\[\d+\]$/.test(target);
}
