import { CniError, ERROR_CODES } from "../cni/error.ts";
import { readTextIfThere } from "../host/file.ts";
import type { TunedSysctl } from "./tuning_config.ts";

/** What an administrator allows, in the format of the CNI plugins project. */
export const ALLOWLIST = "/etc/cni/tuning/allowlist.conf";

/**
 * Refuses a kernel parameter that the list of the machine does not allow: each line is a regular expression, which may match a
 * part of the name. Without the file all are allowed. The name is that of the configuration, with `IFNAME` in it.
 *
 * @throws {CniError} Naming the parameter, or the line that is not a regular expression.
 */
export async function requireAllowed(sysctls: readonly TunedSysctl[], file = ALLOWLIST): Promise<void> {
  if (sysctls.length === 0) return;
  const text = await readTextIfThere(file);
  if (text === undefined) return;
  const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const patterns = lines.map((line) => {
    try {
      return new RegExp(line);
    } catch {
      throw new CniError(
        "config",
        `Cannot use ${file}: ${JSON.stringify(line)} is not a regular expression`,
        {
          code: ERROR_CODES.invalidNetworkConfig,
          file,
        },
      );
    }
  });
  const refused = sysctls.find(({ key }) => !patterns.some((pattern) => pattern.test(key)));
  if (refused === undefined) return;
  throw new CniError("config", `the sysctl "${refused.key}" is not allowed on this machine`, {
    code: ERROR_CODES.invalidNetworkConfig,
    file,
    details: `allowed are ${lines.join(", ") || "none"}`,
  });
}
