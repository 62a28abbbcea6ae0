import type { RunCommand } from "../host/command.ts";

/** How the functions of the built-in plugins run programs on this host. */
export interface Host {
  readonly run: RunCommand;
  readonly signal: AbortSignal;
}
