import type { CallOptions } from "../async/call_options.ts";
import type { CommandOutcome, CommandRequest } from "../host/command.ts";
import { runInside } from "../host/netns.ts";
import type { NetnsHandle } from "../host/netns_handle.ts";
import type { SandboxContext } from "./context.ts";

/** A program to run in the network namespace of a sandbox. */
export interface ExecRequest extends Pick<CommandRequest, "program" | "args" | "stdin" | "cwd"> {
  /** Environment variables of the program. @default {a `PATH` of the system, and `LC_ALL=C`} */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/**
 * As `Sandboxes.exec`, in a namespace that is held.
 *
 * @throws the reason of the signal
 */
export async function execInNetns(
  netns: NetnsHandle,
  { program, args, stdin, cwd, env }: ExecRequest,
  { run, path }: Pick<SandboxContext, "run" | "path">,
  { signal }: CallOptions,
): Promise<CommandOutcome> {
  const variables = { PATH: path, LC_ALL: "C", ...env };
  const request = { program, args, stdin, cwd, env: variables, signal };
  const outcome = await runInside(netns.path, request, { run });
  if (outcome.ended === "aborted") signal?.throwIfAborted();
  return outcome;
}
