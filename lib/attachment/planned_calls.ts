import type { NetworkConfigList } from "../cni/config.ts";
import { requestConfig } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import type { PluginRunner } from "../plugin/exec.ts";

/** What would run for one plugin of an ADD. */
export interface PlannedCall {
  /** The name of the network. */
  readonly network: string;
  /** The interface inside the sandbox. */
  readonly ifName: string;
  /** The type of the plugin. */
  readonly plugin: string;
  /** Zero-based. */
  readonly index: number;
  /** The number of plugins of the network. */
  readonly count: number;
  /** The executable; null if the built-in plugin runs. */
  readonly path: string | null;
  /** All variables that the plugin gets. */
  readonly environment: Readonly<Record<string, string>>;
  /** What it reads from standard input; the result of the plugin before it is added as `prevResult`. */
  readonly stdin: JsonObject;
}

/**
 * Returns what an ADD would run, in order, and runs nothing.
 *
 * @throws {CniError} kind `plugin-missing` or `plugin-start`
 */
export async function plannedCalls(
  runner: PluginRunner,
  list: NetworkConfigList,
  target: AttachTarget,
): Promise<readonly PlannedCall[]> {
  const { containerId, netns, ifName, args, capabilityArgs } = target;
  const calls: PlannedCall[] = [];
  for (const [index, plugin] of list.plugins.entries()) {
    const { type } = plugin;
    const source = await runner.locate(type, plugin.json);
    calls.push({
      network: list.name,
      ifName,
      plugin: type,
      index,
      count: list.plugins.length,
      path: source.kind === "binary" ? source.path : null,
      environment: runner.environmentOf({ verb: "ADD", type, containerId, netns, ifName, args }),
      stdin: requestConfig(list, plugin, { runtimeConfig: capabilityArgs }),
    });
  }
  return calls;
}
