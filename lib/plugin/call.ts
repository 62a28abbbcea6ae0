import type { JsonObject } from "../cni/json.ts";
import type { RunCommand } from "../host/command.ts";
import type { CniArgs, Verb } from "./invocation.ts";

/** One call of one plugin. */
export interface PluginCall {
  readonly verb: Verb;
  readonly type: string;
  readonly config: JsonObject;
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
  readonly args: CniArgs;
  /** `CNI_PATH`. @default {the directories in which the plugin itself is searched} */
  readonly path?: readonly string[] | undefined;
  /** Ends the plugin and everything that it started. */
  readonly signal: AbortSignal;
}

/** The name of the network in the configuration of a call; empty if it has none. */
export function networkOf({ config: { name } }: PluginCall): string {
  return typeof name === "string" ? name : "";
}

/** What an attempt of a call has, whether the plugin is an executable or built in. */
export interface AttemptContext {
  readonly env: Readonly<Record<string, string>>;
  readonly run: RunCommand;
  onStderrLine(line: string): void;
}
