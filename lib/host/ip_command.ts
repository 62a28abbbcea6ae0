import {
  type CommandOutcome,
  type CommandRequest,
  HostError,
  type RunCommand,
  runCommand,
  runOk,
  startProblem,
} from "./command.ts";
import { runInside } from "./netns.ts";

/** Options of the functions that run `ip`. */
export interface IpOptions {
  /** The path of the network namespace to read or change. @default {undefined} (that of this process) */
  readonly netns?: string | undefined;
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns what `ip -j` prints for these arguments; an empty list if it prints nothing.
 *
 * Requires `--allow-run=ip`, and root and `nsenter` with `netns`.
 *
 * @throws {HostError} If `ip` fails (the reason is in `stderr`) or does not print JSON.
 *
 * @example
 * ```ts
 * import { ipJson } from "./ip_command.ts";
 *
 * const links = await ipJson(["link", "show", "dev", "lo"]);
 * ```
 */
export async function ipJson(args: readonly string[], options: IpOptions = {}): Promise<unknown> {
  const { signal } = options;
  const request = { program: "ip", args: ["-j", ...args], signal, ownGroup: false };
  const { stdout } = await runOk((request) => runInNetns(request, options), request);
  try {
    return stdout.trim() === "" ? [] : JSON.parse(stdout);
  } catch (cause) {
    const message = `Cannot read the output of "ip -j ${args.join(" ")}": not JSON`;
    throw new HostError(message, {
      reason: "bad-output",
      program: "ip",
      args,
      code: 0,
      stderr: stdout.slice(-1000),
      cause,
    });
  }
}

/**
 * Runs a program in the namespace of the options. `ip -n` cannot be used for that: it knows only the namespaces in
 * /run/netns.
 *
 * @throws {HostError} If `nsenter` is missing.
 */
export async function runInNetns(
  request: CommandRequest,
  { netns, run = runCommand }: IpOptions,
): Promise<CommandOutcome> {
  if (netns === undefined) return await run(request);
  try {
    return await runInside(netns, request, { run });
  } catch (cause) {
    if (startProblem(cause) !== "not-found") throw cause;
    // If the program itself is missing, nsenter starts and reports that.
    const program = "nsenter";
    const reason = "program-missing";
    throw new HostError(`Cannot run "${program}": no such program on the PATH`, { reason, program, cause });
  }
}
