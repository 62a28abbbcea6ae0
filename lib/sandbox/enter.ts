import { basename, dirname } from "@std/path/posix";
import type { CallOptions } from "../async/call_options.ts";
import { CniError } from "../cni/error.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { MountView } from "../host/mount_view.ts";
import { netnsOf } from "../host/netns.ts";
import { findProgram, withSystemDirs } from "../host/search_path.ts";
import type { SandboxContext } from "./context.ts";
import { holdSandboxNetns } from "./hold.ts";
import { type InsideContext, putInside } from "./inside.ts";
import type { SandboxRecord } from "./record.ts";
import type { Sandbox } from "./view.ts";

/** How a sandbox is entered. */
export interface EnterOptions extends CallOptions {
  /**
   * Whether all namespaces of the infra container are entered, with its files: the program is one of the container.
   * @default {false}
   */
  readonly infra?: boolean | undefined;
  /** Where a program begins, unless the files are those of the infra container. @default {the working directory} */
  readonly cwd?: string | undefined;
}

/** A sandbox that programs can be started in, until it is disposed of. */
export interface SandboxEntry extends AsyncDisposable {
  /** Returns the command that becomes the program inside. */
  command(
    program: string,
    args?: readonly string[],
  ): { readonly program: string; readonly args: readonly string[] };
  /** Whether that command starts the program as its child, so that a signal has to be sent to its child. */
  readonly forks: boolean;
}

/** The dependencies of {@linkcode enterSandbox}. */
export type EnterContext = InsideContext & Pick<SandboxContext, "runDir" | "netnsDir" | "path" | "locks">;

const NAMED_DIRS: readonly string[] = ["/run/netns", "/var/run/netns"];

/**
 * Only a child of the process that enters a process namespace is in it. nsenter and unshare would do the same, but the first one
 * ends with Ctrl-C before the child has decided about it, and the second one loses the code of a child that was killed. Variables
 * whose names a shell refuses (`A.B`) are lost.
 */
const AS_CHILD = 'trap : INT TERM HUP QUIT; (exec "$@"); exit $?';

/** As `Sandboxes.enter`, for a sandbox that was looked up. */
export async function enterSandbox(
  sandbox: Sandbox,
  { signal, infra = false, cwd }: EnterOptions,
  context: EnterContext,
): Promise<SandboxEntry> {
  const netns = await holdSandboxNetns(sandbox, context);
  await using stack = new AsyncDisposableStack();
  stack.use(netns);
  const record = await context.sandboxes.read(sandbox.id);
  const pid = record?.infra === undefined ? undefined : await infraPid(record);
  if (infra) {
    if (pid === undefined) throw refusal(sandbox, "it has no infra container");
    const args = ["--target", String(pid), "--mount", "--uts", "--ipc", "--net", "--pid"];
    return entryOf(args, true, stack.move());
  }
  const enter = [`--net=${netns.path}`];
  // The files and the interfaces of the host are right there.
  if (record === undefined || sandbox.hostNetwork && sandbox.files === null && pid === undefined) {
    return entryOf(enter, false, stack.move());
  }
  if (sandbox.files !== null && !context.inside.has(sandbox.id)) {
    // What holds the lock makes or removes the files itself.
    await using lock = await context.locks.containers.tryHold(sandbox.id);
    const now = lock && await context.sandboxes.read(sandbox.id);
    if (now !== undefined) await putInside(now, context);
  }
  const view = await openView(sandbox, { netns: netns.path, pid, cwd, signal }, context);
  if (view === undefined) return entryOf(enter, false, stack.move());
  stack.use(view);
  const container = ["ipc", "uts", "pid"].map((kind) => `--${kind}=/proc/${pid}/ns/${kind}`);
  const all = [...enter, `--mount=${view.path}`, ...pid === undefined ? [] : [...container, "--no-fork"]];
  // nsenter leaves a program in the root directory.
  const begin = [
    "--",
    // The PATH of the program may lack the directory of this one.
    findProgram("unshare", withSystemDirs(context.path)) ?? "unshare",
    `--wd=${view.cwd}`,
    "--",
    ...pid === undefined ? [] : ["/bin/sh", "-c", AS_CHILD, "sh"],
  ];
  return entryOf([...all, ...begin], pid !== undefined, stack.move());
}

function entryOf(enter: readonly string[], forks: boolean, stack: AsyncDisposableStack): SandboxEntry {
  const end = enter.includes("--") ? [] : ["--"];
  return {
    command: (program, args = []) => ({ program: "nsenter", args: [...enter, ...end, program, ...args] }),
    forks,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Makes the mounts. Where the machine refuses them, programs see those of the host, as a warning says. */
async function openView(
  { id, files, netns: path }: Sandbox,
  request: { readonly netns: string } & Pick<EnterOptions, "cwd" | "signal"> & {
    readonly pid: number | undefined;
  },
  { runDir, netnsDir, log }: EnterContext,
): Promise<MountView | undefined> {
  const { signal, ...more } = request;
  const name = [...NAMED_DIRS, netnsDir].includes(dirname(path)) ? basename(path) : undefined;
  const warn = (why: string) => log.warn(`Cannot show all files of the sandbox: ${why}`, { sandbox: id });
  try {
    const view = await MountView.open({ ...files, ...more, name, dir: `${runDir}/sys` }, { signal });
    for (const problem of view.problems) warn(problem);
    return view;
  } catch (error) {
    signal?.throwIfAborted();
    warn(messageOf(error));
    return undefined;
  }
}

/** Returns the process of the infra container, if it is in the namespace of the sandbox: another process may have its ID. */
async function infraPid({ pid, netns }: SandboxRecord): Promise<number | undefined> {
  return pid !== undefined && await netnsOf(pid) === netns.id ? pid : undefined;
}

function refusal({ name }: Sandbox, problem: string): CniError {
  return new CniError("conflict", `Cannot enter sandbox "${name}": ${problem}`);
}
