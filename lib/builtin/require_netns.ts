import { CniError, ERROR_CODES } from "../cni/error.ts";
import { nsProblem } from "../host/netns.ts";

/**
 * Refuses a call whose namespace is not there.
 *
 * @throws {CniError} kind `usage`
 */
export async function requireNetns(netns: string): Promise<void> {
  const problem = await nsProblem(netns);
  if (problem === undefined) return;
  throw new CniError("usage", `Cannot open network namespace "${netns}": ${problem}`, {
    code: ERROR_CODES.invalidNetns,
  });
}
