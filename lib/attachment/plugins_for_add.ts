import type { NetworkConfigList, PluginConfig } from "../cni/config.ts";
import { CniError, ERROR_CODES, isCniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateInterfaceName } from "../cni/name.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import { placeOf } from "./chain.ts";
import { ipamTypeOf } from "./ipam_type.ts";

/** The members from which the reference plugins name a link: `bridge` and `tap` name a bridge, `vrf` a VRF. */
const LINK_NAME_MEMBERS = ["bridge", "vrfname"] as const;

/**
 * Refuses a list if a plugin or the DHCP daemon that it asks is missing, or if a plugin would create a link under another name
 * than its configuration says.
 *
 * @throws {CniError} kind `plugin-missing`, `plugin-start`, `not-ready` or `config`, naming the plugin
 */
export async function requirePluginsForAdd(list: NetworkConfigList, runner: PluginRunner): Promise<void> {
  for (const [index, plugin] of list.plugins.entries()) {
    try {
      await requireExecutables(plugin, runner);
      requireLinkNames(plugin.json);
    } catch (error) {
      throw asCniError(error, placeOf("ADD", list, index));
    }
  }
}

/**
 * Refuses a plugin whose executable is missing, or could have been written by another user. The IPAM plugin is checked for
 * the latter only: a plugin reports by itself that its IPAM plugin is missing.
 *
 * @throws {CniError} kind `plugin-missing` or `plugin-start`; `not-ready` without the daemon of a `dhcp` that is there
 */
async function requireExecutables(plugin: PluginConfig, runner: PluginRunner): Promise<void> {
  const source = await runner.locate(plugin.type, plugin.json);
  const ipam = ipamTypeOf(plugin);
  if (ipam === undefined) return;
  try {
    await runner.locateDelegate(source, ipam, plugin.json);
  } catch (error) {
    if (!isCniError(error, "plugin-missing")) throw error;
    return;
  }
  if (ipam !== "dhcp") return;
  const { requireDhcpDaemon } = await import("../plugin/dhcp.ts");
  await requireDhcpDaemon(plugin.json);
}

/**
 * Refuses a name that the kernel replaces: it creates a new `br0`, `br1`, ... for each `br%d`, and plugins pass the name
 * of their configuration on unchanged.
 */
function requireLinkNames(plugin: JsonObject): void {
  for (const member of LINK_NAME_MEMBERS) {
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
