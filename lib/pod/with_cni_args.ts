import { type NetworkConfigList, parsePluginConfig, type PluginConfig } from "../cni/config.ts";
import { isObject, type JsonObject, member, printJson } from "../cni/json.ts";

/**
 * Returns the list with arguments for its plugins: each gets them in `args.cni`, where they win over its own of the same name.
 *
 * Source: CNI conventions, "args in network config".
 */
export function withCniArgs(list: NetworkConfigList, cniArgs: JsonObject = {}): NetworkConfigList {
  if (Object.keys(cniArgs).length === 0) return list;
  const plugins = list.plugins.map((plugin) => withArgs(plugin, cniArgs));
  const json = { ...list.json, plugins: plugins.map((plugin) => plugin.json) };
  return { ...list, plugins, json, text: printJson(json) };
}

function withArgs({ json }: PluginConfig, cniArgs: JsonObject): PluginConfig {
  const args = objectOrNone(member(json, "args"));
  const cni = { ...objectOrNone(member(args, "cni")), ...cniArgs };
  return parsePluginConfig(printJson({ ...json, args: { ...args, cni } }));
}

/** A value of another kind has no members for plugins either. */
function objectOrNone(json: ReturnType<typeof member>): JsonObject {
  return isObject(json) ? json : {};
}
