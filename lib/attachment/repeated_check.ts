import type { NetworkConfigList } from "../cni/config.ts";
import type { RunCommand } from "../host/command.ts";
import { DHCP, dhcpSocketOf, keepsLeases } from "../plugin/dhcp.ts";
import type { PluginRunner } from "../plugin/exec.ts";

/**
 * Whether the plugins of a list may be asked to CHECK again and again. A plugin on disk passes a CHECK on to its `dhcp`, and one of
 * an older release begins another lease each time, which it renews for ever.
 *
 * Permissions: `--allow-read` for the plugin directories, `--allow-run` for `dhcp`.
 */
export async function mayCheckAgain(
  list: NetworkConfigList,
  { runner, run }: { readonly runner: PluginRunner; readonly run: RunCommand },
  signal: AbortSignal,
): Promise<boolean> {
  for (const { type, json } of list.plugins) {
    if (dhcpSocketOf(json) === undefined) continue;
    const caller = await runner.locate(type, json);
    if (caller.kind === "builtin") continue;
    const dhcp = await runner.locateDelegate(caller, DHCP, json);
    if (dhcp.kind === "binary" && !await keepsLeases(dhcp.path, { run, signal })) return false;
  }
  return true;
}
