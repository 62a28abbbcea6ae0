import type { PluginRunner, PluginSource } from "../plugin/exec.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { PluginVersions, VersionProbe } from "../plugin/versions.ts";
import type { NetworkConfigList, PluginConfig } from "../cni/config.ts";
import { type CniErrorOptions, isCniError } from "../cni/error.ts";
import { isObject, member } from "../cni/json.ts";
import { placeOf } from "./chain.ts";
import { commonVersion } from "./version_negotiation.ts";
import { requireCommonVersion } from "./status_gc_chain.ts";
import { inVersion } from "../cni/in_version.ts";

/** What looks at plugins before they are called. */
export interface PluginFacts {
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
}

/** A plugin of the list, or one that it calls by itself. */
interface Needed {
  readonly type: string;
  readonly index: number;
  /** What of the configuration asks for it, if that is not the list itself. */
  readonly details?: string;
}

/**
 * Refuses a list whose plugins, those that hand out its addresses too, are not all there or do not support its
 * versions; none of them is called but for its version. Gives the list in the version that it would be spoken in.
 *
 * @throws {CniError} of the first plugin that cannot be used: kind `plugin-missing`; `config`, code 1; or what became of
 * its VERSION
 */
export async function requireUsable(
  list: NetworkConfigList,
  { runner, probe }: PluginFacts,
  signal?: AbortSignal,
): Promise<NetworkConfigList> {
  const ipams = await requireThere(list, runner);
  const plugins = list.plugins.map(({ type }, index) => ({ type, index }));
  const answers: PluginVersions[] = [];
  for (const plugin of plugins) answers.push(await versionsOf(list, plugin, probe, signal));
  const version = commonVersion(list, answers);
  const spoken = list.cniVersions.length < 2 ? list : inVersion(list, version);
  for (const ipam of ipams) await versionsOf({ ...spoken, cniVersions: [version] }, ipam, probe, signal);
  return spoken;
}

/** Gives those that the plugins of the list call for addresses. */
async function requireThere(list: NetworkConfigList, runner: PluginRunner): Promise<readonly Needed[]> {
  const ipams: Needed[] = [];
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

async function located(found: Promise<PluginSource>, place: CniErrorOptions): Promise<PluginSource> {
  try {
    return await found;
  } catch (error) {
    throw asCniError(error, place);
  }
}

async function versionsOf(
  list: NetworkConfigList,
  { type, index, details }: Needed,
  probe: VersionProbe,
  signal: AbortSignal | undefined,
): Promise<PluginVersions> {
  try {
    const answer = await probe.of(type, signal, list.plugins[index]?.json);
    requireCommonVersion(list, type, answer);
    return answer;
  } catch (error) {
    throw asCniError(error, {
      ...placeOf("VERSION", list, index),
      ...(details === undefined ? {} : { details }),
    });
  }
}

/**
 * Refuses a plugin of which an executable is missing, or that others could have written; of what it calls for addresses,
 * the latter alone, since it says by itself what it misses.
 *
 * @throws {CniError} kind `plugin-missing` or `plugin-start`
 */
export async function requireLocated(plugin: PluginConfig, runner: PluginRunner): Promise<void> {
  const source = await runner.locate(plugin.type, plugin.json);
  const ipam = ipamTypeOf(plugin);
  if (ipam === undefined) return;
  try {
    await runner.locateDelegate(source, ipam, plugin.json);
  } catch (error) {
    if (!isCniError(error, "plugin-missing")) throw error;
  }
}

function ipamTypeOf({ json }: PluginConfig): string | undefined {
  const ipam = member(json, "ipam");
  const type = isObject(ipam) ? member(ipam, "type") : undefined;
  return typeof type === "string" && type !== "" ? type : undefined;
}
