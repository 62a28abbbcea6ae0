// A runner over a fake run, for tests that need no process.
import type { PluginCall } from "../../lib/plugin/call.ts";
import { PluginRunner, type PluginRunnerOptions } from "../../lib/plugin/exec.ts";
import type { FakeRun } from "../fake_run.ts";
import { callOf as callOfAny } from "./plugin_call.ts";

/** The plugin type is `sh`, because every machine has it. The fake does not run it. */
const DIRS = ["/bin"];

/** A call of `sh`. */
export function callOf(overrides: Partial<PluginCall> = {}): PluginCall {
  return callOfAny({ type: "sh", ...overrides });
}

/** A runner over a fake run. */
export function runnerOf(run: FakeRun, options: Partial<PluginRunnerOptions> = {}): PluginRunner {
  return new PluginRunner({ pluginDirs: DIRS, run: run.run, ...options });
}
