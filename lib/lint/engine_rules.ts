import { configReading } from "../builtin/config_table.ts";
import { requestConfig } from "../cni/config.ts";
import { type CniError, ERROR_CODES, isCniError } from "../cni/error.ts";
import { isObject, type JsonObject, type JsonPath, member } from "../cni/json.ts";
import { reservedKeys } from "../cni/reserved_keys.ts";
import { ValidationError } from "../cni/shape.ts";
import type { SpecVersion } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { ipamOf, isListFile, type NetworkFile, objectOf, type PlacedPlugin } from "./network_file.ts";
import { type Problem, problemIn, problemOfError, type Rule } from "./rule.ts";

/** Members of which another rule says more. */
const RANGE_ENDS: readonly unknown[] = ["rangeStart", "rangeEnd"];
const WITHDRAWN: readonly unknown[] = ["shapedSubnets", "unshapedSubnets"];

/** A configuration that a reader refuses. */
interface Refused {
  readonly plugin: PlacedPlugin;
  readonly path: JsonPath;
  readonly error: CniError;
  readonly isBuiltin: boolean;
}

/** Whether the file holds a list although its name is that of a single plugin, or the reverse. */
export function hasWrongForm(file: NetworkFile): boolean {
  const json = objectOf(file);
  if (json === undefined || !file.isConfig) return false;
  const [isList, isPlugin] = [member(json, "plugins") !== undefined, member(json, "type") !== undefined];
  return isListFile(file) ? isPlugin && !isList : isList && !isPlugin;
}

/** What the engine refuses, and what the built-in plugins would. */
export const ENGINE_RULES: readonly Rule[] = [
  {
    name: "invalid-json",
    severity: "error",
    summary: "the file is not JSON in UTF-8",
    explanation:
      "No runtime can read the file. JSON has no comments, no trailing commas and no byte-order mark.",
    check: ({ files }) => refusals(files, (file, { code }) => isUndecodable(code) && !hasWrongForm(file)),
  },
  {
    name: "invalid-config",
    severity: "error",
    summary: "the engine refuses the file",
    explanation:
      "A member is missing, is there twice or has the wrong type, or the name or the version is not valid.",
    check: ({ files }) => refusals(files, (file, { code }) => !isUndecodable(code) && !hasWrongForm(file)),
  },
  {
    name: "invalid-plugin-config",
    severity: "error",
    summary: "the built-in plugin of that type refuses its configuration",
    explanation:
      "Each ADD would fail with this message. If another program of that type is installed, it may know more: then it is a warning.",
    check: function* (subject) {
      for (const { plugin, path, error, isBuiltin } of refusedConfigs(subject)) {
        if (RANGE_ENDS.includes(path.at(-1)) || isWithdrawn(error, plugin)) continue;
        yield problemIn(plugin, path, `${plugin.type}: ${error.msg}`, {
          severity: isBuiltin ? "error" : "warning",
          suggestion: error.context.hint ?? error.context.details,
        });
      }
    },
  },
  {
    name: "range-outside-subnet",
    severity: "error",
    summary: "rangeStart or rangeEnd is not in the subnet, or they are in the wrong order",
    explanation: "host-local refuses the range, so no container gets an address.",
    check: function* (subject) {
      for (const { plugin, path, error } of refusedConfigs(subject)) {
        if (!RANGE_ENDS.includes(path.at(-1))) continue;
        yield problemIn(plugin, path, error.msg, {
          suggestion: "take the first and the last address of the subnet that may be given out",
        });
      }
    },
  },
  {
    name: "deprecated-key",
    severity: "warning",
    summary: "a key that plugins have given up, or that has a better successor",
    explanation:
      "`shapedSubnets` and `unshapedSubnets` of bandwidth are gone since release 1.6 of the CNI plugins. `args.cni` in a file asks for " +
      "the same address for every container; the capabilities `ips` and `mac` let the runtime ask for each of them. `subnet` beside " +
      "`ranges` is the old way to write one more range.",
    check: function* (subject) {
      for (const { plugin, error } of refusedConfigs(subject)) {
        const key = isWithdrawn(error, plugin);
        if (key !== undefined) {
          yield problemIn(plugin, [key], `${key} is not supported any more`, {
            severity: "error",
            suggestion: "remove it",
          });
        }
      }
      for (const file of subject.files) for (const plugin of file.plugins) yield* oldKeys(plugin);
    },
  },
  {
    name: "reserved-key",
    severity: "error",
    summary: "a key that only a runtime may write",
    explanation:
      "`prevResult`, `runtimeConfig` and keys that begin with `cni.dev/` never reach a plugin from a file, so they do nothing.",
    check: function* ({ files }) {
      for (const file of files) {
        if (file.read === undefined || !file.isConfig) continue;
        const { text } = file.read.document;
        for (const error of reservedKeys(text, { file: file.file, duplicateKeys: "last wins" })) {
          yield problemOfError(file, error, {
            suggestion: "remove it, and declare a capability in its place",
          });
        }
      }
    },
  },
];

function isUndecodable(code: number): boolean {
  return code === ERROR_CODES.decodingFailure;
}

function* refusals(
  files: readonly NetworkFile[],
  isMeant: (file: NetworkFile, refusal: CniError) => boolean,
): Generator<Problem> {
  for (const file of files) {
    const { refusal } = file;
    if (refusal !== undefined && file.unsafe === undefined && isMeant(file, refusal)) {
      yield problemOfError(file, refusal);
    }
  }
}

function isWithdrawn({ code }: CniError, { json }: PlacedPlugin): string | undefined {
  if (code !== ERROR_CODES.unsupportedField) return undefined;
  return Object.keys(json).find((key) => WITHDRAWN.includes(key));
}

function* oldKeys(plugin: PlacedPlugin): Generator<Problem> {
  const args = member(plugin.json, "args");
  const cni = isObject(args) ? member(args, "cni") : undefined;
  for (const key of ["ips", "mac"]) {
    if (!isObject(cni) || member(cni, key) === undefined) continue;
    yield problemIn(plugin, ["args", "cni", key], `args.cni.${key} asks for the same for every container`, {
      suggestion: `declare "capabilities": {"${key}": true}, and let the runtime ask`,
    });
  }
  const ipam = ipamOf(plugin);
  if (ipam?.type !== "host-local" || member(ipam.json, "ranges") === undefined) return;
  if (member(ipam.json, "subnet") === undefined) return;
  yield problemIn(plugin, ["ipam", "subnet"], "subnet stands beside ranges, as one more range", {
    suggestion: "move it into ranges",
  });
}

function* refusedConfigs({ files, answerOf }: Parameters<Rule["check"]>[0]): Generator<Refused> {
  for (const { list, plugins } of files) {
    if (list === undefined) continue;
    for (const [at, plugin] of plugins.entries()) {
      const config = list.plugins[at];
      if (config === undefined) continue;
      const request = withPlaceholders(requestConfig(list, config), plugin);
      for (const type of [plugin.type, ipamOf(plugin)?.type ?? ""]) {
        const error = refusalOf(type, request, list.cniVersion);
        if (error === undefined) continue;
        const answer = answerOf(type, type === plugin.type ? plugin.json : {});
        const path = pathOf(error) ?? (type === plugin.type ? [] : ["ipam"]);
        yield { plugin, path, error, isBuiltin: answer?.isBuiltin ?? true };
      }
    }
  }
}

/** What a runtime fills in later must not be missing now. */
function withPlaceholders(request: JsonObject, { capabilities, json }: PlacedPlugin): JsonObject {
  const ipam = member(json, "ipam");
  const hasRanges = isObject(ipam) && (member(ipam, "ranges") ?? member(ipam, "subnet")) !== undefined;
  const ranges = capabilities.includes("ipRanges") && !hasRanges && isObject(ipam) &&
    member(ipam, "exclude") === undefined;
  return {
    ...request,
    runtimeConfig: {
      ...(ranges ? { ipRanges: [[{ subnet: "192.0.2.0/24" }]] } : {}),
      ...(capabilities.includes("deviceID") ? { deviceID: "0000:00:00.0" } : {}),
    },
  };
}

function refusalOf(type: string, request: JsonObject, version: SpecVersion): CniError | undefined {
  try {
    configReading(type)?.read(request, version);
    return undefined;
  } catch (error) {
    return isCniError(error) ? error : asCniError(error);
  }
}

function pathOf({ cause }: CniError): JsonPath | undefined {
  return cause instanceof ValidationError ? cause.path : undefined;
}
