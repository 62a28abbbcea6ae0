import { HostError, type RunCommand, runOk } from "../host/command.ts";
import { runInside } from "../host/netns.ts";
import { CniError } from "../spec/error.ts";

/**
 * `net.` and more parts, as `sysctl` takes them: in a part a `/` stands for a dot, as in `eth0/100`. A part of nothing
 * else would lead upwards.
 */
const NAME = /^net(?:\.[A-Za-z0-9_-][A-Za-z0-9_/-]*)+$/;
const LONGEST_VALUE = 4096;

/**
 * Refuses what is no sysctl of a network namespace: others are those of the whole machine, or of a namespace that a
 * sandbox does not have.
 *
 * @throws {CniError} kind `usage`
 */
export function validateSysctls(sysctls: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(sysctls)) {
    const refuse = (msg: string, details?: string) =>
      new CniError("usage", `the sysctl "${name}" ${msg}`, { path: "sysctls", ...(details && { details }) });
    if (!NAME.test(name)) {
      throw refuse(
        "is none of a network namespace",
        "its name has to begin with net., as net.ipv4.ip_forward",
      );
    }
    if (value.trim() === "") throw refuse("has no value");
    if (/\p{Cc}/u.test(value.replaceAll("\t", ""))) throw refuse("has a value of several lines");
    if (value.length > LONGEST_VALUE) throw refuse(`has a value of more than ${LONGEST_VALUE} characters`);
  }
}

/**
 * Sets sysctls inside a network namespace, one after another.
 *
 * Requires root, `--allow-run=nsenter`.
 *
 * @throws {CniError} with the first that cannot be set, naming it
 */
export async function setSysctls(
  netns: string,
  sysctls: Readonly<Record<string, string>>,
  { run, signal }: { run: RunCommand; signal?: AbortSignal },
): Promise<void> {
  const inside: RunCommand = (request) => runInside(netns, request, { run });
  for (const [name, value] of Object.entries(sysctls)) {
    try {
      await runOk(inside, {
        program: "sysctl",
        args: ["-q", "-w", `${name}=${value}`],
        ...(signal && { signal }),
      });
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      throw sysctlError(name, value, cause);
    }
  }
}

function sysctlError(name: string, value: string, cause: HostError): CniError {
  const words = cause.stderr.trim().split("\n").at(-1) || cause.message;
  return new CniError("io", `Cannot set the sysctl "${name}" to "${value}": ${words}`, {
    exitCode: cause.code,
    hint: "one of an interface is there only once a plugin has made that: use net.*.conf.default",
    cause,
  });
}
