import type { PluginConfig } from "../cni/config.ts";
import { isObject, member } from "../cni/json.ts";

/** Returns the IPAM plugin that a plugin calls for addresses; undefined if its configuration names none. */
export function ipamTypeOf({ json }: PluginConfig): string | undefined {
  const ipam = member(json, "ipam");
  const type = isObject(ipam) ? member(ipam, "type") : undefined;
  return typeof type === "string" && type !== "" ? type : undefined;
}
