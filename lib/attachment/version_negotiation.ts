import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { inVersion } from "../cni/in_version.ts";
import type { SpecVersion } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { PluginVersions, VersionProbe } from "../plugin/versions.ts";
import { placeOf } from "./chain.ts";

/**
 * Returns the list in the newest of its versions that all of its plugins support. The plugins are asked only if the list has
 * more than one version.
 *
 * Source: CNI specification 1.1.0, section 1 "Version considerations".
 *
 * @throws {CniError} kind `config`, code 1, naming each plugin with its versions, if they have none in common
 */
export async function negotiate(
  list: NetworkConfigList,
  probe: VersionProbe,
  signal?: AbortSignal,
): Promise<NetworkConfigList> {
  if (list.cniVersions.length < 2) return list;
  const answers: PluginVersions[] = [];
  for (const [index, { type, json }] of list.plugins.entries()) {
    try {
      answers.push(await probe.of(type, signal, json));
    } catch (error) {
      throw asCniError(error, placeOf("VERSION", list, index));
    }
  }
  return inVersion(list, commonVersion(list, answers));
}

/**
 * Returns the newest version of the list that all plugins support.
 *
 * @throws {CniError} kind `config`, code 1
 */
export function commonVersion(list: NetworkConfigList, answers: readonly PluginVersions[]): SpecVersion {
  const common = list.cniVersions.findLast((version) =>
    answers.every(({ supportedVersions }) => supportedVersions.includes(version))
  );
  if (common !== undefined) return common;
  const offered = list.cniVersions.join(", ");
  const plugins = list.plugins.map(({ type }, index) =>
    `"${type}" supports ${answers[index]?.supportedVersions.join(", ")}`
  );
  throw new CniError("config", `its plugins have none of the versions ${offered} in common`, {
    code: ERROR_CODES.incompatibleVersion,
    network: list.name,
    details: plugins.join("; "),
    hint: "give the network a cniVersion that all of its plugins support",
  });
}
