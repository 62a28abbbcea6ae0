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

/** Options of {@linkcode ipJson}. */
export interface IpOptions {
  /** The path of the network namespace to look at or change. @default {undefined} (that of this process) */
  readonly netns?: string | undefined;
  /** @default {runCommand} */
  readonly run?: RunCommand | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@linkcode ipBatch}. */
export interface IpBatchOptions extends IpOptions {
  /** Go on after a line that failed; the errors of all lines are thrown at the end. @default {false} */
  readonly force?: boolean | undefined;
  /** Have what is shown printed as JSON, one document a line. @default {false} */
  readonly json?: boolean | undefined;
}

/** A line of a batch that `ip` could not do. */
export interface FailedLine {
  /** Zero-based. */
  readonly index: number;
  readonly line: string;
  /** The words of `ip`. */
  readonly reason: string;
}

/** What {@linkcode ipBatch} throws. */
export class IpBatchError extends HostError {
  override readonly name = "IpBatchError";

  constructor(
    readonly failed: readonly FailedLine[],
    message: string,
    options: { code: number; stderr: string },
  ) {
    super(message, { program: "ip", ...options });
  }
}

/**
 * Runs lines as they would follow the word `ip` on a command line, all in one process. Unless `force` is set, the
 * first line that fails ends it; the lines before it stay done. Gives what the lines print.
 *
 * Requires root, `--allow-run=ip`, and `nsenter` with `netns`.
 *
 * @throws {IpBatchError} Naming each line that failed with the reason.
 *
 * @example
 * ```ts ignore
 * import { ipBatch } from "./link.ts";
 *
 * await ipBatch(["link add br0 type bridge", "link set br0 up"]);
 * ```
 */
export async function ipBatch(lines: readonly string[], options: IpBatchOptions = {}): Promise<string> {
  const broken = lines.find((line) => /[\n\0]/.test(line));
  if (broken !== undefined) throw new TypeError(`Cannot run ip ${JSON.stringify(broken)}: not one line`);
  if (lines.length === 0) return "";
  const args = [...(options.json ? ["-json"] : []), ...(options.force ? ["-force"] : []), "-batch", "-"];
  const outcome = await runIp(args, options, `${lines.join("\n")}\n`);
  if (outcome.ended === "exit" && outcome.code === 0) return outcome.stdout;
  const { code, stderr } = outcome;
  const failed = failedLines(stderr, lines);
  const what = failed.length > 0
    ? failed.map(({ index, line, reason }) =>
      `Cannot run "ip ${line}" (line ${index + 1} of ${lines.length}): ${reason}`
    )
    : [`Cannot run ip on ${lines.length} lines: ${stderr.trim() || `exit code ${code}`}`];
  throw new IpBatchError(failed, what.join("; "), { code, stderr });
}

/** `ip` writes the reasons first, then the number of the line they belong to. */
function failedLines(stderr: string, lines: readonly string[]): FailedLine[] {
  const failed: FailedLine[] = [];
  let reasons: string[] = [];
  for (const text of stderr.split("\n").filter((text) => text.trim() !== "")) {
    const number = /^Command failed -:(\d+)$/.exec(text)?.[1];
    if (number === undefined) {
      reasons.push(text.trim());
      continue;
    }
    const index = Number(number) - 1;
    failed.push({ index, line: lines[index] ?? "", reason: reasons.join("; ") || "no reason given" });
    reasons = [];
  }
  return failed;
}

/**
 * What `ip -j` prints for these arguments; nothing printed is an empty list.
 *
 * Requires `--allow-run=ip`, and root and `nsenter` with `netns`.
 *
 * @throws {HostError} If `ip` fails (the reason is in `stderr`) or prints no JSON.
 *
 * @example
 * ```ts
 * import { ipJson } from "./link.ts";
 *
 * const links = await ipJson(["link", "show", "dev", "lo"]);
 * ```
 */
export async function ipJson(args: readonly string[], options: IpOptions = {}): Promise<unknown> {
  const { stdout } = await runOk((request) => inNetns(request, options), {
    ...ipRequest(["-j", ...args], options),
    ownGroup: false,
  });
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

async function runIp(args: readonly string[], options: IpOptions, stdin: string): Promise<CommandOutcome> {
  const outcome = await inNetns({ ...ipRequest(args, options), stdin }, options);
  if (outcome.ended === "aborted") throw options.signal?.reason;
  return outcome;
}

function ipRequest(args: readonly string[], { signal }: IpOptions): CommandRequest {
  return { program: "ip", args, signal };
}

/** `ip -n` would know only the namespaces in /run/netns. */
async function inNetns(
  request: CommandRequest,
  { netns, run = runCommand }: IpOptions,
): Promise<CommandOutcome> {
  if (netns === undefined) return await run(request);
  try {
    return await runInside(netns, request, { run });
  } catch (cause) {
    if (startProblem(cause) !== "not-found") throw cause;
    // If `ip` is the one that is missing, nsenter was started, and says so.
    const program = "nsenter";
    const reason = "program-missing";
    throw new HostError(`Cannot run "${program}": no such program on the PATH`, { reason, program, cause });
  }
}
