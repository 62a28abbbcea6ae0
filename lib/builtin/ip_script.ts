import { type CommandOutcome, type CommandRequest, HostError, type RunCommand } from "../host/command.ts";
import { runInside } from "../host/netns.ts";

/** How the programs of one call are run. */
export interface Host {
  readonly run: RunCommand;
  readonly signal: AbortSignal;
}

/** A kernel parameter to have. */
export interface Sysctl {
  /** Below `/proc/sys`, with slashes: interface names may have dots. */
  readonly name: string;
  readonly value: "0" | "1";
  /** Whether it is an error that it cannot be had. @default {false} */
  readonly required?: boolean;
}

/** Kernel parameters to set, then lines for `ip`, in one network namespace. */
export interface IpScript {
  /** The path of the namespace. @default {undefined} (that of this process) */
  readonly netns?: string;
  readonly sysctls?: readonly Sysctl[];
  /** Whether shown links tell their kind. @default {false} */
  readonly details?: boolean;
  /** The first that fails ends the script. */
  readonly lines: readonly string[];
}

/** What `ip` could not do. */
export class IpScriptError extends HostError {
  override readonly name = "IpScriptError";

  /** `line` is the zero-based line that failed; -1 if it was none of them. */
  constructor(readonly line: number, message: string, options: { code: number; stderr: string }) {
    super(message, { program: "ip", ...options });
  }
}

const SYSCTL_FAILED = 64;

/**
 * Files below /proc cannot be opened with the permissions that podwire has, and sysctl(8) is not on every machine; a
 * POSIX shell is, and it becomes the `ip` process, so that both are one process start.
 * A value that is right already is not written: /proc/sys may be read-only. The kernel gives a shell that reads one byte
 * at a time the first digit of a number, which is why there are no others.
 */
const shell = (options: readonly string[]) => `
while [ "$#" -gt 0 ]; do
  now=
  { read -r now <"/proc/sys/$2"; } 2>/dev/null
  if [ "$now" != "$3" ]; then
    if [ "$1" = required ]; then
      echo "$3" >"/proc/sys/$2" || exit ${SYSCTL_FAILED}
      read -r now <"/proc/sys/$2"
      if [ "$now" != "$3" ]; then echo "$2 stays $now" >&2; exit ${SYSCTL_FAILED}; fi
    else { echo "$3" >"/proc/sys/$2"; } 2>/dev/null
    fi
  fi
  shift 3
done
exec ip ${options.join(" ")} -batch -
`;

/**
 * Runs a script in one process start. Each line that shows something gives a list of what it showed.
 *
 * Requires root and `--allow-run`.
 *
 * @throws {IpScriptError} Naming the line and what `ip` said.
 */
export async function runIpScript(host: Host, script: IpScript): Promise<unknown[][]> {
  const { netns, sysctls = [], details = false, lines } = script;
  const options = details ? ["-d", "-j"] : ["-j"];
  const stdin = `${lines.join("\n")}\n`;
  const args = sysctls.flatMap((sysctl) => [
    sysctl.required ? "required" : "wanted",
    sysctl.name,
    sysctl.value,
  ]);
  const request: CommandRequest = sysctls.length === 0
    ? { program: "ip", args: [...options, "-batch", "-"], stdin, signal: host.signal }
    : { program: "sh", args: ["-c", shell(options), "sh", ...args], stdin, signal: host.signal };
  const outcome =
    await (netns === undefined ? host.run(request) : runInside(netns, request, { run: host.run }));
  if (outcome.ended === "aborted") throw host.signal.reason;
  if (outcome.ended === "exit" && outcome.code === 0) return shown(outcome.stdout);
  throw failure(outcome, lines);
}

function shown(stdout: string): unknown[][] {
  return stdout.split("\n").filter((line) => line.startsWith("[")).map((line) => {
    try {
      return JSON.parse(line);
    } catch (cause) {
      const message = `Cannot read what ip shows: ${line.length} characters that are no JSON`;
      throw new HostError(message, { reason: "bad-output", program: "ip", cause });
    }
  });
}

function failure({ code, stderr }: CommandOutcome, lines: readonly string[]): IpScriptError {
  const words = stderr.split("\n").filter((text) => text.trim() !== "");
  const number = words.map((text) => /^Command failed -:(\d+)$/.exec(text)?.[1]).find((match) =>
    match !== undefined
  );
  const index = Number(number ?? 0) - 1;
  const reason = words.filter((text) => !text.startsWith("Command failed")).join("; ") || `exit code ${code}`;
  const tried = code === SYSCTL_FAILED
    ? "Cannot set a kernel parameter"
    : index < 0
    ? "Cannot run ip"
    : `Cannot run "ip ${lines[index] ?? ""}"`;
  return new IpScriptError(index, `${tried}: ${reason}`, { code, stderr });
}

/** The one thing that a `show` line showed, as an object; undefined if it showed nothing. */
export function firstShown(
  list: readonly unknown[] | undefined,
): Readonly<Record<string, unknown>> | undefined {
  // ip prints an empty object for what a filter left out.
  return objectsShown(list)[0];
}

/** What a `show` line showed, without the empty objects that stand for what a filter left out. */
export function objectsShown(list: readonly unknown[] = []): Readonly<Record<string, unknown>>[] {
  return list.filter((entry): entry is Readonly<Record<string, unknown>> =>
    typeof entry === "object" && entry !== null && Object.keys(entry).length > 0
  );
}
