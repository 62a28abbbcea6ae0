import { dirname } from "@std/path/posix";
import {
  type CommandOutcome,
  type CommandRequest,
  HostError,
  type RunCommand,
  runCommand,
  runOk,
} from "./command.ts";
import { listDir } from "./file.ts";
import { lookAtHome } from "./home.ts";
import { createBy, type EnterProblem, type NetnsSteps, pinBy, removeBy } from "./netns_mount.ts";
import { netnsId } from "./netns_path.ts";
import { statOf } from "./stat.ts";

export { learnNamespaces, netnsId, nsProblem, sameNetns } from "./netns_path.ts";

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

/**
 * Creates a network namespace with a name in the file system, with `lo` up. It lives until {@linkcode removeNetns}; if the
 * path is in `/run/netns`, `ip netns` knows it.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=mount,sh,unshare,umount`.
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
  await createBy(new NetnsPrograms(options.run), path, options);
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
  await pinBy(new NetnsPrograms(options.run), source, path, options.signal);
}

/**
 * Removes the name of a network namespace, with all mounts on the path, also if they are in use; processes inside keep the
 * namespace until they end. Also removes an empty file that a crash left behind. Returns false if nothing is there.
 *
 * Requires root, `--allow-read`, `--allow-write`, `--allow-run=umount`.
 *
 * @throws {HostError} With reason `not-a-netns` if something else is at the path; it is left as it is.
 */
export async function removeNetns(path: string, { run, signal }: NetnsOptions = {}): Promise<boolean> {
  return await removeBy(new NetnsPrograms(run), path, signal);
}

/** Exit codes of the script: the directory is not a mount point, which neither `unshare` nor `ip` says; a program is missing. */
const [NOT_SHARED, MISSING] = [65, 127];

/** Becomes `unshare`, which becomes `ip`: one process start for Deno. */
const SHARE_AND_CREATE = `mount "$1" "$2" 2>/dev/null || exit ${NOT_SHARED}
shift 2
exec unshare "$@"`;

/** The directories whose mounts below them this process has shared. */
const shared = new Set<string>();

/** The programs that name namespaces. */
class NetnsPrograms implements NetnsSteps {
  readonly #run: RunCommand;

  constructor(run: RunCommand = runCommand) {
    this.#run = run;
  }

  async share(dir: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { code } = await this.#run({
      program: "mount",
      args: ["--make-rshared", dir],
      signal,
      ownGroup: false,
    });
    signal?.throwIfAborted();
    return code === 0;
  }

  async mountShared(dir: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#must("mount", ["--rbind", dir, dir], signal);
    await this.#must("mount", ["--make-rshared", dir], signal);
  }

  async create(path: string, alias: string | undefined, signal: AbortSignal | undefined): Promise<void> {
    await this.#must("unshare", unshareArgs(path, alias), signal);
  }

  async shareAndCreate(
    path: string,
    alias: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const dir = dirname(path);
    // The mounts below it are shared once: each of thousands of namespaces is one.
    const how = shared.has(dir) ? "--make-shared" : "--make-rshared";
    const args = unshareArgs(path, alias);
    const script = ["-c", SHARE_AND_CREATE, "sh", how, dir, ...args];
    const byShell: RunCommand = (request) => this.#run({ ...request, program: "sh", args: script });
    const isShared = await runOk(byShell, { program: "unshare", args, signal, ownGroup: false })
      .then(() => true, (error: unknown) => {
        // Where a program is missing, the steps one after another have the better words for it.
        if (error instanceof HostError && (error.code === NOT_SHARED || error.code === MISSING)) return false;
        throw error;
      });
    if (isShared) shared.add(dir);
    else shared.delete(dir);
    return isShared;
  }

  async bind(source: string, path: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#must("mount", ["--bind", source, path], signal);
  }

  async enterProblem(path: string, signal: AbortSignal | undefined): Promise<EnterProblem | undefined> {
    const request = { program: "true", ownGroup: false, signal };
    const { code, stderr } = await runInside(path, request, { run: this.#run });
    if (code === 0) return undefined;
    return { isOtherKind: stderr.includes("Invalid argument"), text: stderr };
  }

  async unmount(path: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#must("umount", ["-l", path], signal);
  }

  /** None of them starts others that outlive it, so none needs a process group to end with. */
  async #must(program: string, args: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    await runOk(this.#run, { program, args, signal, ownGroup: false });
  }
}

function unshareArgs(path: string, alias: string | undefined): readonly string[] {
  return [`--net=${path}`, "--", "ip", "link", "set", "lo", "up", ...alias ? ["alias", alias] : []];
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
    const look = () => statOf(`/proc/${pid}/ns/net`);
    const there = await lookAtHome(look, () => pid === Deno.pid);
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

function enter(
  path: string,
  { program, args = [] }: { program: string; args?: readonly string[] | undefined },
) {
  return { program: "nsenter", args: [`--net=${path}`, "--", program, ...args] };
}
