import type { RunCommand } from "../host/command.ts";
import { commandOf } from "../host/process.ts";
import { Deadline } from "../plugin/deadline.ts";

/** An OCI runtime as an engine calls it. */
export interface OciRuntime {
  /** The path of the program. */
  readonly program: string;
  /** Directory of its containers. @default {the default of the runtime} */
  readonly root?: string;
}

/** How an OCI runtime is called. */
export interface RuntimeCallOptions {
  readonly run: RunCommand;
  /** Search path, in the format of the variable `PATH`. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

/** Commands that call the hooks of a new container. */
const CREATE_COMMANDS = ["create", "run", "restore"];
/** Other work waits for the answer, so the limit is short. */
const LIST_TIMEOUT_MS = 5_000;

/**
 * Finds the runtime that creates a container from the process that called its hook. Returns undefined if that process is not
 * a runtime, such as a script around the hook or an engine that creates containers without a separate runtime.
 *
 * Source: the command line of runc, which crun, youki and runsc share; "Command-line interface" of runtime-tools.
 */
export async function callingRuntime(
  pid: number,
  containerId: string,
  { run, signal }: Pick<RuntimeCallOptions, "run" | "signal">,
): Promise<OciRuntime | undefined> {
  const command = await commandOf(pid, { run, signal });
  if (command === undefined) return undefined;
  const { program, args: [, ...args] } = command;
  const { root, rest } = globalOptions(args);
  return rest.includes(containerId) ? { program, ...(root !== undefined && { root }) } : undefined;
}

/**
 * Whether the runtime has a container with that ID, running or ended; undefined if the runtime does not answer. It reads
 * the list of all containers, because a failure to show one container may have many reasons.
 */
export async function hasContainer(
  containerId: string,
  { program, root }: OciRuntime,
  { run, path, signal }: RuntimeCallOptions,
): Promise<boolean | undefined> {
  using deadline = new Deadline(LIST_TIMEOUT_MS, signal);
  const where = root === undefined ? [] : ["--root", root];
  const { code, stdout, stderr, ended } = await run({
    program: "sh",
    // A shell, because a missing runtime is an answer too.
    args: ["-c", 'exec "$@"', "sh", program, ...where, "list", "--quiet"],
    env: { PATH: path, LC_ALL: "C" },
    signal: deadline.signal,
  });
  signal?.throwIfAborted();
  if (ended !== "exit" || code !== 0) return undefined;
  if (stdout.split("\n").some((line) => line.trim() === containerId)) return true;
  // A runtime that cannot read the files of a container writes an error and leaves the container out.
  return stderr.includes(containerId) ? undefined : false;
}

/** Returns `--root`, the only global option that selects containers, and the arguments after the command. */
function globalOptions(args: readonly string[]): { root: string | undefined; rest: readonly string[] } {
  let root: string | undefined;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    const [, value] = /^--?root=(.*)$/s.exec(arg) ?? [];
    if (value !== undefined) root = value;
    else if (arg === "--root" || arg === "-root" || arg === "-r") root = args[++index];
    else if (CREATE_COMMANDS.includes(arg)) return { root, rest: args.slice(index + 1) };
  }
  return { root, rest: [] };
}
