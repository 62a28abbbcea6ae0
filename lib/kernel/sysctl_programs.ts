import type { RunCommand } from "../host/command.ts";
import { runOk } from "../host/command.ts";
import { runInNetns } from "../host/ip_command.ts";
import { SysctlError, type SysctlPlace } from "./kernel.ts";

/** Exit code of the script if a parameter cannot be set. */
const NOT_SET = 64;

/**
 * Sets the parameters that are given in pairs, then prints one line for each file after them: `=` and its content, or an empty
 * line if it cannot be read. `cat` writes and reads because a shell writes without the kernel's reason if it fails, and reads
 * byte by byte, to which the kernel gives only the first digit of a number.
 */
const SCRIPT = `while [ "$1" != "--" ]; do
  printf '%s\\n' "$2" | cat >"/proc/sys/$1" || { printf '%s\\n' "$1"; exit ${NOT_SET}; }
  shift 2
done
shift
for path; do
  value=$(cat "/proc/sys/$path" 2>/dev/null) && printf '=%s\\n' "$value" || echo
done`;

/**
 * Sets kernel parameters, and returns their values and those of others, by one process. Requires `--allow-run=sh`, and root
 * and `nsenter` with `netns`.
 *
 * @throws {SysctlError} Naming the first one that cannot be set.
 * @throws {HostError} If the namespace cannot be entered.
 */
export async function sysctlsByPrograms(
  values: ReadonlyMap<string, string>,
  names: readonly string[],
  { run, netns, signal }: SysctlPlace & { readonly run: RunCommand },
): Promise<ReadonlyMap<string, string>> {
  if (values.size === 0 && names.length === 0) return new Map();
  const args = ["-c", SCRIPT, "sh", ...[...values].flat(), "--", ...names];
  const request = { program: "sh", args, signal, ownGroup: false };
  const { stdout } = await runOk(async (request) => {
    const outcome = await runInNetns(request, { run, netns });
    const { code, stderr, ended } = outcome;
    if (ended !== "exit" || code !== NOT_SET) return outcome;
    const why = stderr.trim().split("\n").at(-1)?.trim() || `exit code ${code}`;
    throw new SysctlError(outcome.stdout.trimEnd(), why, { program: "sh", code });
  }, request);
  const lines = stdout.split("\n");
  return new Map(names.flatMap((name, index) => {
    const line = lines[index] ?? "";
    return line.startsWith("=") ? [[name, line.slice(1)] as const] : [];
  }));
}
