import type { CommandOutcome, CommandRequest } from "../host/command.ts";
import type { SandboxContext } from "./context.ts";
import type { EnterOptions, SandboxEntry } from "./enter.ts";

/** A program to run in a sandbox. */
export interface ExecRequest
  extends Pick<CommandRequest, "program" | "args" | "stdin">, Pick<EnterOptions, "infra" | "cwd"> {
  /** Environment variables of the program. @default {a `PATH` of the system, and `LC_ALL=C`} */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/**
 * As `Sandboxes.exec`, in a sandbox that was entered.
 *
 * @throws the reason of the signal
 */
export async function execIn(
  entry: SandboxEntry,
  { program, args, stdin, cwd, env }: ExecRequest,
  { run, path }: Pick<SandboxContext, "run" | "path">,
  { signal }: Pick<EnterOptions, "signal">,
): Promise<CommandOutcome> {
  const variables = { PATH: path, LC_ALL: "C", ...env };
  const outcome = await run({ ...entry.command(program, args), stdin, cwd, env: variables, signal });
  if (outcome.ended === "aborted") signal?.throwIfAborted();
  return outcome;
}
