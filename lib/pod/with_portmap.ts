import { type NetworkConfigList, parsePluginConfig, withFolderPlugins } from "../cni/config.ts";
import { ALWAYS_BUILTIN } from "../plugin/locate.ts";

const CAPABILITY = "portMappings";

/** Returns the list with the built-in portmap at its end, unless one of its plugins maps ports. */
export function withPortmap(list: NetworkConfigList): NetworkConfigList {
  if (list.plugins.some(({ capabilities }) => capabilities.includes(CAPABILITY))) return list;
  const portmap = { type: "portmap", [ALWAYS_BUILTIN]: true, capabilities: { [CAPABILITY]: true } };
  // The flag keeps out the plugins of a folder, and this one is of none.
  const open = { ...list, loadOnlyInlinedPlugins: false };
  return withFolderPlugins(open, [parsePluginConfig(JSON.stringify(portmap))]);
}
