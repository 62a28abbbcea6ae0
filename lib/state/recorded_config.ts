import { listFromPluginConfig, type NetworkConfigList, parseConfigList } from "../cni/config.ts";
import { type CniError, ERROR_CODES } from "../cni/error.ts";
import { refusesInput } from "../plugin/refusal.ts";
import type { SpecVersion } from "../cni/version.ts";
import type { AttachmentRecord } from "./attachment_store.ts";
import type { CachedAttachment } from "./result_cache.ts";
import type { AttachTarget } from "../plugin/attach_target.ts";
import { inVersion } from "../cni/in_version.ts";

/** What is remembered of an attachment, here or by another runtime. */
export type CachedAttach = Pick<CachedAttachment, "config" | "cniArgs" | "capabilityArgs" | "result"> & {
  readonly cniVersion?: SpecVersion;
};

/** Arguments of the call win; where it brings none, those of the ADD are repeated. */
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
 * The list in an entry of another runtime. A Go runtime stores a single configuration as it is, and a list without
 * the plugins of its folder: with no plugin in it, it would delete nothing and look done.
 */
export function parseRecorded(text: string | undefined): NetworkConfigList | undefined {
  if (text === undefined || text === "") return undefined;
  for (const parse of [parseConfigList, listFromPluginConfig]) {
    try {
      // The Go parser had taken the last of two equal keys.
      const list = parse(text, { duplicateKeys: "last wins" });
      if (list.plugins.length > 0) return list;
    } catch {
      // The other form, or else the list at hand.
    }
  }
  return undefined;
}

/**
 * The index of the first plugin of the chain that did not run in a failed ADD, or read no further than the version: a
 * plugin that does not speak it refuses the DEL as well.
 */
export function firstSkippedPluginOf(
  { kind, code, context }: CniError,
): Pick<AttachmentRecord, "firstSkippedPlugin"> {
  const index = context.plugin?.index;
  if (index === undefined) return {};
  const didNothing = kind === "plugin-start" || kind === "plugin-missing" ||
    code === ERROR_CODES.incompatibleVersion;
  return { firstSkippedPlugin: didNothing ? index : index + 1 };
}

/**
 * What the first plugin of the chain refused in a failed ADD, if it refused its input. A DEL that it refuses with the
 * same words finds nothing to remove: it refuses before it does anything.
 */
export function refusalIn(cause: CniError): Pick<AttachmentRecord, "refusal"> {
  const { code, msg } = cause;
  return cause.context.plugin?.index === 0 && refusesInput(cause) ? { refusal: { code, msg } } : {};
}

/** Whether that DEL failed because its ADD had begun nothing; the caller makes sure that there is no interface. */
export function isSameRefusal({ refusal }: AttachmentRecord, failure: CniError): boolean {
  const { code, msg, context: { plugin } } = failure;
  return plugin?.index === 0 && refusal?.code === code && refusal.msg === msg;
}

/**
 * The version in which its ADD was made, unless the list no longer offers it. Another runtime takes the newest that its
 * configuration offers, and what podwire leaves in the cache offers only the one that was spoken.
 */
export function versionOfAdd(
  list: NetworkConfigList,
  known: CachedAttach | undefined,
): SpecVersion | undefined {
  const version = known?.cniVersion ?? parseRecorded(known?.config)?.cniVersion;
  return version !== undefined && list.cniVersions.includes(version) ? version : undefined;
}

/**
 * The list of an attachment's ADD, in the version of its ADD.
 *
 * @throws {CniError} kind `config` if the configuration on record cannot be read
 */
export function listOnRecord({ config, cniVersion }: AttachmentRecord): NetworkConfigList {
  const list = parseConfigList(config);
  return cniVersion !== undefined && list.cniVersions.includes(cniVersion)
    ? inVersion(list, cniVersion)
    : list;
}
