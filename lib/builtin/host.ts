import type { RunCommand } from "../host/command.ts";
import type { RuleBatch } from "./rule_batch.ts";

/** How the functions of the built-in plugins run programs on this host. */
export interface Host {
  readonly run: RunCommand;
  readonly signal: AbortSignal;
  /** Takes the changes of rules, and what is listed for them, of several attachments. @default {each change is made at once} */
  readonly batch?: RuleBatch | undefined;
}
