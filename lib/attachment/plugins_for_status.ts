import type { NetworkConfigList } from "../cni/config.ts";
import type { CniErrorOptions } from "../cni/error.ts";
import { inVersion } from "../cni/in_version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { requireDhcpDaemon } from "../plugin/dhcp.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { PluginVersions, VersionProbe } from "../plugin/versions.ts";
import { placeOf } from "./chain.ts";
import { ipamTypeOf } from "./ipam_type.ts";
import { requireCommonVersion } from "./validate.ts";
import { commonVersion } from "./version_negotiation.ts";

/** What finds plugins and asks for their versions. */
export interface PluginFacts {
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
}

/** A plugin of the list, or an IPAM plugin that one of them calls. */
interface NeededPlugin {
  readonly type: string;
  readonly index: number;
  /** What in the configuration needs it, if that is not the list itself. */
  readonly details?: string;
}

/**
 * Refuses a list if one of its plugins or IPAM plugins is missing, or does not support its versions, or if a DHCP daemon that
 * it asks is not there. Plugins are called for their version only. Returns the list in the version in which the plugins are
 * called.
 *
 * @throws {CniError} of the first plugin that cannot be used: kind `plugin-missing`; `config`, code 1; the failure of
 * its VERSION; or `not-ready`, code 50
 */
export async function requirePluginsForStatus(
  list: NetworkConfigList,
  { runner, probe }: PluginFacts,
  signal?: AbortSignal,
): Promise<NetworkConfigList> {
  const ipams = await requireExecutables(list, runner);
  const plugins = list.plugins.map(({ type }, index) => ({ type, index }));
  const answers: PluginVersions[] = [];
  for (const plugin of plugins) answers.push(await versionsOf(list, plugin, probe, signal));
  const version = commonVersion(list, answers);
  const negotiated = list.cniVersions.length < 2 ? list : inVersion(list, version);
  for (const ipam of ipams) await versionsOf({ ...negotiated, cniVersions: [version] }, ipam, probe, signal);
  for (const [index, { json }] of list.plugins.entries()) {
    await located(requireDhcpDaemon(json), placeOf("STATUS", list, index));
  }
  return negotiated;
}

/** Returns the IPAM plugins of the list. */
async function requireExecutables(
  list: NetworkConfigList,
  runner: PluginRunner,
): Promise<readonly NeededPlugin[]> {
  const ipams: NeededPlugin[] = [];
  for (const [index, plugin] of list.plugins.entries()) {
    const place = placeOf("STATUS", list, index);
    const caller = await located(runner.locate(plugin.type, plugin.json), place);
    const type = ipamTypeOf(plugin);
    if (type === undefined) continue;
    const ipam = { type, index, details: `"${plugin.type}" needs it for its "ipam"` };
    await located(runner.locateDelegate(caller, type, plugin.json), { ...place, details: ipam.details });
    ipams.push(ipam);
  }
  return ipams;
}

async function located<T>(found: Promise<T>, place: CniErrorOptions): Promise<T> {
  try {
    return await found;
  } catch (error) {
    throw asCniError(error, place);
  }
}

async function versionsOf(
  list: NetworkConfigList,
  { type, index, details }: NeededPlugin,
  probe: VersionProbe,
  signal: AbortSignal | undefined,
): Promise<PluginVersions> {
  try {
    const answer = await probe.of(type, signal, list.plugins[index]?.json);
    requireCommonVersion(list, type, answer);
    return answer;
  } catch (error) {
    throw asCniError(error, { ...placeOf("VERSION", list, index), details });
  }
}
