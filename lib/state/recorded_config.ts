import { listFromPluginConfig, type NetworkConfigList, parseConfigList } from "../cni/config.ts";
import { inVersion } from "../cni/in_version.ts";
import type { SpecVersion } from "../cni/version.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import type { AttachmentRecord } from "./attachment_store.ts";
import type { CachedAttachment } from "./result_cache.ts";

/** What a record, or the cache entry of another runtime, says about an attachment. */
export type CachedAttach = Pick<CachedAttachment, "config" | "cniArgs" | "capabilityArgs" | "result"> & {
  readonly cniVersion?: SpecVersion;
};

/** Returns the target with the arguments of the call, or with those of the ADD where the call has none. */
export function withCachedArgs(request: AttachTarget, known: CachedAttach | undefined): AttachTarget {
  if (known === undefined) return request;
  return {
    ...request,
    args: request.args.length > 0 ? request.args : known.cniArgs,
    capabilityArgs: Object.keys(request.capabilityArgs).length > 0
      ? request.capabilityArgs
      : known.capabilityArgs,
  };
}

/**
 * Returns the list in a record or in a cache entry. A Go runtime stores a single configuration as it is, and a list without
 * the plugins of its folder. A list without plugins is not returned: its DEL would delete nothing and seem to succeed.
 */
export function parseRecorded(text: string | undefined): NetworkConfigList | undefined {
  if (text === undefined || text === "") return undefined;
  for (const parse of [parseConfigList, listFromPluginConfig]) {
    try {
      // The Go parser took the last of two equal keys.
      const list = parse(text, { duplicateKeys: "last wins" });
      if (list.plugins.length > 0) return list;
    } catch {
      // Try the other form. If that fails as well, the caller uses the list that it has.
    }
  }
  return undefined;
}

/**
 * Returns the version of the ADD, unless the list no longer offers it. Another runtime uses the newest version that its
 * configuration offers. What podwire writes to the cache offers only the version of the ADD.
 */
export function versionOfAdd(
  list: NetworkConfigList,
  known: CachedAttach | undefined,
): SpecVersion | undefined {
  const version = known?.cniVersion ?? parseRecorded(known?.config)?.cniVersion;
  return version !== undefined && list.cniVersions.includes(version) ? version : undefined;
}

/**
 * Returns the list of an attachment's ADD, in the version of that ADD.
 *
 * @throws {CniError} kind `config` if the configuration on record cannot be read
 */
export function listOnRecord({ config, cniVersion }: AttachmentRecord): NetworkConfigList {
  const list = parseConfigList(config);
  return cniVersion !== undefined && list.cniVersions.includes(cniVersion)
    ? inVersion(list, cniVersion)
    : list;
}
