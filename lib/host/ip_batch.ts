import { type CommandOutcome, type CommandRequest, HostError, runCommand } from "./command.ts";
import { type IpOptions, runInNetns } from "./ip_command.ts";

/** A kernel parameter to set. */
export interface Sysctl {
  /** The path below `/proc/sys`, with slashes: interface names may contain dots. */
  readonly name: string;
  readonly value: "0" | "1" | "2";
  /** Whether the batch fails if the parameter cannot be set. @default {false} */
  readonly required?: boolean | undefined;
}

/** Options of {@linkcode ipBatch}. */
export interface IpBatchOptions extends IpOptions {
  /** Kernel parameters to set in the same namespace before the first line. @default none */
  readonly sysctls?: readonly Sysctl[] | undefined;
  /** Kernel parameters to set in the namespace of this process before that. @default none */
  readonly sysctlsOutside?: readonly Sysctl[] | undefined;
  /** Flags of `ip` itself: JSON, details such as the kind of a link, numbers in place of names, IPv6. @default none */
  readonly flags?: readonly ("-json" | "-j" | "-d" | "-N" | "-6" | "-s")[] | undefined;
}

/** The line of a batch that `ip` could not run. */
export interface FailedLine {
  /** Zero-based. */
  readonly index: number;
  readonly line: string;
  /** The message of `ip`. */
  readonly reason: string;
}

/** The error that {@linkcode ipBatch} throws. */
export class IpBatchError extends HostError {
  override readonly name = "IpBatchError";

  /**
   * `failed` is undefined if the batch failed before its first line, or if `ip` did not name the line. `why` is the reason
   * without what was tried.
   */
  constructor(
    readonly failed: FailedLine | undefined,
    readonly why: string,
    message: string,
    options: { code: number; stderr: string },
  ) {
    super(message, { program: "ip", ...options });
  }
}

/** Exit code of the shell script if a required kernel parameter could not be set; `ip` does not use it. */
const SYSCTL_FAILED = 64;

/**
 * Sets kernel parameters, then becomes the process of another program, so that both take one process start. A shell does it because files
 * below /proc cannot be opened with the permissions that podwire has, and because sysctl(8) is not on every machine.
 * A parameter that has its value already is not written: /proc/sys may be read-only. The kernel gives only the first
 * digit of a number to a shell that reads one byte at a time; for that reason the values have one digit.
 */
const SCRIPT = `
while [ "$1" != -- ]; do
  now=
  { read -r now <"/proc/sys/$2"; } 2>/dev/null
  if [ "$now" != "$3" ]; then
    if [ "$1" = required ]; then
      echo "$3" >"/proc/sys/$2" || { echo "$2 has to be $3" >&2; exit ${SYSCTL_FAILED}; }
      read -r now <"/proc/sys/$2"
      if [ "$now" != "$3" ]; then echo "$2 stays $now" >&2; exit ${SYSCTL_FAILED}; fi
    else { echo "$3" >"/proc/sys/$2"; } 2>/dev/null
    fi
  fi
  shift 3
done
shift
exec "$@"
`;

/**
 * Runs lines as they would follow the word `ip` on a command line, all in one process. The first line that fails ends
 * the batch; the lines before it stay done. Returns what the lines print.
 *
 * Requires root, `--allow-run=ip`, `nsenter` with `netns`, and `sh` with `sysctls`.
 *
 * @throws {IpBatchError} Naming the line that failed and the reason.
 * @throws The reason of `signal`, if that ended it.
 *
 * @example
 * ```ts ignore
 * import { ipBatch } from "./ip_batch.ts";
 *
 * await ipBatch(["link add br0 type bridge", "link set br0 up"]);
 * ```
 */
export async function ipBatch(lines: readonly string[], options: IpBatchOptions = {}): Promise<string> {
  const broken = lines.find((line) => /[\n\0]/.test(line));
  if (broken !== undefined) throw new TypeError(`Cannot run ip ${JSON.stringify(broken)}: not one line`);
  if (lines.length === 0) return "";
  const { sysctls = [], sysctlsOutside = [], flags = [], signal, run = runCommand } = options;
  const stdin = `${lines.join("\n")}\n`;
  // It is, or becomes, one process that starts no other: a group of its own would only take time to make.
  const request = { program: "ip", args: [...flags, "-batch", "-"], stdin, signal, ownGroup: false };
  const outcome = await runInNetns(afterSysctls(sysctls, request), {
    ...options,
    run: (request) => run(afterSysctls(sysctlsOutside, request)),
  });
  if (outcome.ended === "aborted") throw options.signal?.reason;
  if (outcome.ended === "exit" && outcome.code === 0) return outcome.stdout;
  throw batchError(outcome, lines);
}

/**
 * Runs lines as {@linkcode ipBatch}, and returns the list that each line printed; a line that shows nothing prints none.
 *
 * @throws {IpBatchError} As {@linkcode ipBatch}.
 * @throws {HostError} With the reason `bad-output`, if `ip` does not print JSON.
 */
export async function ipBatchJson(
  lines: readonly string[],
  { flags = ["-j"], ...options }: IpBatchOptions = {},
): Promise<readonly (readonly unknown[])[]> {
  const stdout = await ipBatch(lines, { ...options, flags });
  return stdout.split("\n").filter((line) => line.startsWith("[")).map(readList);
}

/** Reads the list that a line printed. @throws {HostError} With the reason `bad-output`, if it is none. */
export function readList(text: string): readonly unknown[] {
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list)) return list;
    throw new TypeError("another value was expected");
  } catch (cause) {
    const message = `Cannot read the output of "ip": its ${text.length} characters are not JSON`;
    throw new HostError(message, { reason: "bad-output", program: "ip", cause });
  }
}

/** The objects in the list that a line printed; `ip` prints an empty object for each entry that its filter left out. */
export function objectsIn(list: readonly unknown[] = []): Readonly<Record<string, unknown>>[] {
  return list.filter((entry): entry is Readonly<Record<string, unknown>> =>
    typeof entry === "object" && entry !== null && Object.keys(entry).length > 0
  );
}

/** Returns the request of a shell that sets kernel parameters and then becomes the program. */
function afterSysctls(sysctls: readonly Sysctl[], request: CommandRequest): CommandRequest {
  if (sysctls.length === 0) return request;
  const words = sysctls.flatMap((
    { name, value, required },
  ) => [required ? "required" : "wanted", name, value]);
  const { program, args = [] } = request;
  return { ...request, program: "sh", args: ["-c", SCRIPT, "sh", ...words, "--", program, ...args] };
}

/** What `ip` printed when it ended at a line. */
export interface PrintedFailure {
  /** The number of the line, from one; undefined if it is not named. */
  readonly line: number | undefined;
  /** Empty if there is none. */
  readonly reason: string;
}

/** Reads the standard error of a batch: the reasons first, then the number of the line, unless `ip` ended at a word of it. */
export function readFailure(stderr: string): PrintedFailure {
  const printed = stderr.split("\n").map((text) => text.trim()).filter((text) => text !== "");
  const [number] = printed.flatMap((text) => /^Command failed -:(\d+)$/.exec(text)?.[1] ?? []);
  const reason = printed.filter((text) => !text.startsWith("Command failed")).join("; ");
  return { line: number === undefined ? undefined : Number(number), reason };
}

function batchError({ code, stderr }: CommandOutcome, lines: readonly string[]): IpBatchError {
  const { line: number, reason } = readFailure(stderr);
  if (code === SYSCTL_FAILED || number === undefined) {
    const words = reason || `exit code ${code}`;
    const [why, tried] = code === SYSCTL_FAILED
      ? [`a kernel parameter cannot be set: ${words}`, "Cannot set a kernel parameter"]
      : [words, `Cannot run ip on ${lines.length} lines`];
    return new IpBatchError(undefined, why, `${tried}: ${words}`, { code, stderr });
  }
  const index = number - 1;
  const failed = { index, line: lines[index] ?? "", reason: reason || "no reason given" };
  const message = `Cannot run "ip ${failed.line}" (line ${index + 1} of ${lines.length}): ${failed.reason}`;
  return new IpBatchError(failed, failed.reason, message, { code, stderr });
}
