// The default call of the tests of the runtime's end of the wire.
import { assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { PluginCall } from "../../lib/plugin/call.ts";
import { PluginRunner, type PluginRunnerOptions } from "../../lib/plugin/exec.ts";
import type { PluginFolder } from "../recording_plugin.ts";

/** ADD of the plugin type `net`, with the members of `overrides`. */
export function callOf(overrides: Partial<PluginCall> = {}): PluginCall {
  const { type = "net" } = overrides;
  return {
    verb: "ADD",
    type,
    config: { name: "web", cniVersion: "1.1.0", type },
    containerId: "c1",
    netns: "/run/netns/c1",
    ifName: "eth0",
    args: [],
    signal: new AbortController().signal,
    ...overrides,
  };
}

/** A runner that finds the plugins of this folder. */
export function runnerOf(plugins: PluginFolder, options: Partial<PluginRunnerOptions> = {}): PluginRunner {
  return new PluginRunner({ pluginDirs: [plugins.dir], ...options });
}

/** The error that an act must throw. */
export function failing(act: () => unknown): Promise<CniError> {
  return assertRejects(async () => await act(), CniError);
}
