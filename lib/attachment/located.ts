import type { PluginRunner } from "../plugin/exec.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateInterfaceName } from "../cni/name.ts";
import { placeOf } from "./chain.ts";
import { requireLocated } from "./usable.ts";

/** What the plugins of the CNI plugins project make a link of: `bridge` and `tap` a bridge, `vrf` a VRF. */
const MEMBERS = ["bridge", "vrfname"] as const;

/**
 * Refuses a list of which a plugin is missing, or would make a link of another name than its configuration says.
 *
 * @throws {CniError} kind `plugin-missing` or `config`, naming the plugin
 */
export async function requireAllLocated(list: NetworkConfigList, runner: PluginRunner): Promise<void> {
  for (const [index, plugin] of list.plugins.entries()) {
    try {
      await requireLocated(plugin, runner);
      requireLinkNames(plugin.json);
    } catch (error) {
      throw asCniError(error, placeOf("ADD", list, index));
    }
  }
}

/**
 * Refuses a name that the kernel would take for another one, as it makes a new `br0`, `br1`, ... of each `br%d`: plugins
 * hand on what stands in their configuration.
 */
function requireLinkNames(plugin: JsonObject): void {
  for (const member of MEMBERS) {
    const name = plugin[member];
    if (typeof name !== "string" || name === "") continue;
    try {
      validateInterfaceName(name);
    } catch (cause) {
      const why = cause instanceof CniError ? cause.msg : String(cause);
      throw new CniError("config", `"${member}" is not the name of an interface: ${JSON.stringify(name)}`, {
        code: ERROR_CODES.invalidNetworkConfig,
        details: why,
        cause,
      });
    }
  }
}
