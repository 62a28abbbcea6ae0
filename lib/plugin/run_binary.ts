import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { type CommandOutcome, type RunCommand, startProblem } from "../host/command.ts";
import type { PluginCall } from "./call.ts";

/** What an attempt of a call has, whether the plugin is an executable or built in. */
export interface AttemptContext {
  readonly env: Readonly<Record<string, string>>;
  readonly run: RunCommand;
  onStderrLine(line: string): void;
}

/** Runs the executable of a plugin. */
export async function runBinary(
  path: string,
  { config, signal }: PluginCall,
  { env, run, onStderrLine }: AttemptContext,
): Promise<CommandOutcome> {
  try {
    return await run({ program: path, env, stdin: printJson(config), signal, onStderrLine });
  } catch (error) {
    if (signal.aborted) throw asCniError(signal.reason);
    throw startError(path, error);
  }
}

/** Why a file that was found a moment ago cannot be started. */
const START_REASONS: Readonly<Record<string, string>> = {
  "not-found": "its interpreter is missing",
  "not-executable": "it is not a program for this machine",
  permission: "permission denied",
};

function startError(path: string, error: unknown): CniError {
  const known = asCniError(error);
  if (known.kind === "permission" && known.context.hint?.includes("--allow-")) return known;
  const message = error instanceof Error ? error.message : String(error);
  const reason = START_REASONS[startProblem(error) ?? ""] ?? message;
  return new CniError("plugin-start", `${path} cannot be started: ${reason}`, { cause: error });
}
