import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { SpecVersion } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { PluginVersions, VersionProbe } from "../plugin/versions.ts";
import { placeOf } from "./chain.ts";
import { commonVersion } from "./version_negotiation.ts";

/** What is known of a list whose plugins can all be used. */
export interface ValidNetwork {
  /** The version in which its plugins would be called. */
  readonly cniVersion: SpecVersion;
  /** The capabilities that its plugins accept, sorted. */
  readonly capabilities: readonly string[];
}

/**
 * Asks all plugins of the list for their versions and compares them with the versions of the list.
 *
 * @throws {CniError} with what is wrong. If several things are wrong, its `cause` is an `AggregateError` with each of them,
 * and `details` names them all.
 */
export async function validateChain(
  probe: VersionProbe,
  list: NetworkConfigList,
  signal?: AbortSignal,
): Promise<ValidNetwork> {
  const answers: PluginVersions[] = [];
  const failures: CniError[] = [];
  for (const [index, { type, json }] of list.plugins.entries()) {
    try {
      const answer = await probe.of(type, signal, json);
      requireCommonVersion(list, type, answer);
      answers.push(answer);
    } catch (error) {
      failures.push(asCniError(error, placeOf("VERSION", list, index)));
    }
  }
  if (failures.length > 0) throw combined(list, failures);
  const capabilities = new Set(list.plugins.flatMap((plugin) => plugin.capabilities));
  return { cniVersion: commonVersion(list, answers), capabilities: [...capabilities].sort() };
}

/**
 * Refuses a plugin that supports none of the list's versions.
 *
 * @throws {CniError} kind `config`, code 1
 */
export function requireCommonVersion(
  list: NetworkConfigList,
  type: string,
  { supportedVersions }: PluginVersions,
): void {
  if (list.cniVersions.some((version) => supportedVersions.includes(version))) return;
  const wanted = list.cniVersions.map((version) => JSON.stringify(version)).join(", ");
  throw new CniError("config", `plugin ${type} does not support config version ${wanted}`, {
    code: ERROR_CODES.incompatibleVersion,
    details: `it supports ${supportedVersions.join(", ")}`,
  });
}

/** Returns a single failure unchanged, and several as one error, with their kind and code where these agree. */
function combined(list: NetworkConfigList, failures: readonly CniError[]): CniError {
  const [first] = failures;
  if (first === undefined || failures.length === 1) {
    return first ?? new CniError("internal", "nothing failed");
  }
  const kind = failures.every((failure) => failure.kind === first.kind) ? first.kind : "config";
  const code = failures.every((failure) => failure.code === first.code)
    ? first.code
    : ERROR_CODES.invalidNetworkConfig;
  const msg = `${failures.length} of its ${list.plugins.length} plugins cannot be used`;
  return new CniError(kind, msg, {
    code,
    verb: "VERSION",
    network: list.name,
    details: failures.map(({ message }) => message).join("; "),
    cause: new AggregateError(failures, msg),
  });
}
