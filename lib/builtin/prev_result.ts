import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import type { PluginRequest } from "../plugin/serve.ts";

/**
 * Returns the result of the plugins before this one, or of the ADD.
 *
 * @throws {CniError} with the code 7 if there is none
 */
export function requirePrevResult({ prevResult }: PluginRequest): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError("config", "Required prevResult missing", { code: ERROR_CODES.invalidNetworkConfig });
}
