import type { RunCommand } from "../host/command.ts";
import { commandOf } from "../host/process.ts";
import { Deadline } from "../plugin/deadline.ts";

/** An OCI runtime as an engine has called it. */
export interface OciRuntime {
  /** The path of the program. */
  readonly program: string;
  /** Where it keeps its containers. @default {its own default} */
  readonly root?: string;
}

/** What OCI runtimes are asked with. */
export interface AskRuntimeOptions {
  readonly run: RunCommand;
  /** As in the variable `PATH`. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

/** The commands during which hooks of a new container are called. */
const MAKING = ["create", "run", "restore"];
/** It is asked beside other work, which should not wait for long. */
const LIST_TIMEOUT_MS = 5_000;

/**
 * The runtime that makes a container, told by the process that has called its hook; nothing if that is something else,
 * such as a script around the hook or an engine that makes its containers without a runtime of its own.
 *
 * Source: the command line of runc, which crun, youki and runsc share; "Command-line interface" of runtime-tools.
 */
export async function callingRuntime(
  pid: number,
  containerId: string,
  { run, signal }: Pick<AskRuntimeOptions, "run" | "signal">,
): Promise<OciRuntime | undefined> {
  const command = await commandOf(pid, { run, signal });
  if (command === undefined) return undefined;
  const { program, args: [, ...args] } = command;
  const { root, rest } = globalOptions(args);
  return rest.includes(containerId) ? { program, ...(root !== undefined && { root }) } : undefined;
}

/**
 * Whether the runtime has a container of that ID, be it one that has ended; nothing where it does not say. A list that
 * it gives without complaint is an answer; that it cannot show one container may have many reasons.
 */
export async function hasContainer(
  containerId: string,
  { program, root }: OciRuntime,
  { run, path, signal }: AskRuntimeOptions,
): Promise<boolean | undefined> {
  using deadline = new Deadline(LIST_TIMEOUT_MS, signal);
  const where = root === undefined ? [] : ["--root", root];
  const { code, stdout, stderr, ended } = await run({
    program: "sh",
    // That it is missing is an answer too.
    args: ["-c", 'exec "$@"', "sh", program, ...where, "list", "--quiet"],
    env: { PATH: path, LC_ALL: "C" },
    signal: deadline.signal,
  });
  signal?.throwIfAborted();
  if (ended !== "exit" || code !== 0) return undefined;
  if (stdout.split("\n").some((line) => line.trim() === containerId)) return true;
  // Of one whose files it cannot read it complains, and leaves it out.
  return stderr.includes(containerId) ? undefined : false;
}

/** The options in front of the command, of which only the root says which containers are meant, and what is behind it. */
function globalOptions(args: readonly string[]): { root: string | undefined; rest: readonly string[] } {
  let root: string | undefined;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    const [, value] = /^--?root=(.*)$/s.exec(arg) ?? [];
    if (value !== undefined) root = value;
    else if (arg === "--root" || arg === "-root" || arg === "-r") root = args[++index];
    else if (MAKING.includes(arg)) return { root, rest: args.slice(index + 1) };
  }
  return { root, rest: [] };
}
