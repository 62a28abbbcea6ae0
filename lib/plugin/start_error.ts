import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { startProblem } from "../host/command.ts";

/** Why a file that was found a moment ago cannot be started. */
const START_REASONS: Readonly<Record<string, string>> = {
  "not-found": "its interpreter is missing",
  "not-executable": "it is not a program for this machine",
  permission: "permission denied",
};

/** Returns the error of a plugin whose executable could not be started. */
export function pluginStartError(path: string, error: unknown): CniError {
  const known = asCniError(error);
  if (known.kind === "permission" && known.context.hint?.includes("--allow-")) return known;
  const message = error instanceof Error ? error.message : String(error);
  const reason = START_REASONS[startProblem(error) ?? ""] ?? message;
  return new CniError("plugin-start", `${path} cannot be started: ${reason}`, { cause: error });
}
