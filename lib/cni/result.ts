import { isArray, isObject, type Json, type JsonObject, kindOf, MAX_DEPTH, member } from "./json.ts";
import { convertFamily, type Result } from "./result_convert.ts";
import { FAMILY_OF, normaliseResult, refuseStrayIndices, resultError } from "./result_shape.ts";
import {
  CURRENT_VERSION,
  DEFAULT_VERSION,
  isSpecVersion,
  SPEC_VERSIONS,
  type SpecVersion,
} from "./version.ts";

export { type Dns, type Interface, type IpConfig, type Result, type Route } from "./result_convert.ts";

/**
 * Reads the answer of a plugin to ADD, and returns it in the version of the configuration.
 *
 * An answer without a version has that of the configuration. Addresses get their canonical form; members that CNI does
 * not define are kept unless the answer is converted. Null entries, missing or invalid addresses, and an `interface` of
 * an address that is not an index into the `interfaces` of the answer are refused. Only fresh answers are checked for
 * the index: results that this or another runtime stored may have any index.
 *
 * @throws {CniError} of kind `plugin-output`, code 6, with the path of the wrong value
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodeResult } from "./result.ts";
 *
 * assertEquals(decodeResult({ ips: [{ address: "FD00:0::2/64" }] }, "1.1.0"), {
 *   cniVersion: "1.1.0",
 *   ips: [{ address: "fd00::2/64" }],
 * });
 * ```
 */
export function decodeResult(json: Json, configVersion: SpecVersion): JsonObject {
  const normal = normalised(withVersion(json, configVersion));
  refuseStrayIndices(normal, FAMILY_OF[versionOf(normal)]);
  return converted(normal, configVersion);
}

/**
 * Reads the `prevResult` that a plugin gets from the runtime, and returns it in the version of the configuration.
 *
 * It must be of a version whose results have the same members. Without a version, it has that of the configuration.
 *
 * @throws {CniError} as {@linkcode decodeResult}; also for a version with other members
 */
export function decodePrevResult(json: Json, configVersion: SpecVersion): JsonObject {
  const document = withVersion(json, configVersion);
  const family = FAMILY_OF[configVersion];
  const fitting = SPEC_VERSIONS.filter((version) => FAMILY_OF[version] === family);
  const written = member(document, "cniVersion");
  if (!fitting.some((version) => version === written)) {
    const given = JSON.stringify(written);
    throw resultError(`result type supports [${fitting.join(" ")}] but unmarshalled CNIVersion is ${given}`, [
      "cniVersion",
    ]);
  }
  return converted(normalised(document), configVersion);
}

/**
 * Converts a result to another version; members that this version does not define are lost. An empty version means 0.1.0,
 * both in the result and as the wanted version.
 *
 * @throws {CniError} as {@linkcode decodeResult}; also when 0.1.0 or 0.2.0 is wanted and there is no address, since
 * results of these versions hold addresses only
 */
export function convertResult(json: JsonObject | Result, to: SpecVersion | ""): JsonObject {
  const from = versionOf(json);
  // A list converts thousands, each into an object of its own, and most need nothing else.
  return convertedFrom(from, normaliseResult(json, FAMILY_OF[from]), to || DEFAULT_VERSION);
}

/**
 * Converts a result of any version to 1.1.0.
 *
 * @throws {CniError} as {@linkcode decodeResult}
 */
export function asResult(json: JsonObject): Result {
  return convertResult(json, CURRENT_VERSION) as unknown as Result;
}

function withVersion(json: Json, configVersion: SpecVersion): JsonObject {
  const document = json ?? {};
  if (!isObject(document)) throw resultError(`the result must be an object, not ${kindOf(document)}`);
  if (isDeeper(document, MAX_DEPTH)) {
    throw resultError(`the result is nested deeper than ${MAX_DEPTH} levels`);
  }
  const written = member(document, "cniVersion");
  return { ...document, cniVersion: typeof written === "string" && written !== "" ? written : configVersion };
}

function isDeeper(json: Json, levels: number): boolean {
  if (!isArray(json) && !isObject(json)) return false;
  return levels === 0 || Object.values(json).some((value: Json) => isDeeper(value, levels - 1));
}

function normalised(json: JsonObject | Result): JsonObject {
  const cniVersion = versionOf(json);
  return { cniVersion, ...normaliseResult(json, FAMILY_OF[cniVersion]) };
}

function converted({ cniVersion, ...members }: JsonObject, to: SpecVersion): JsonObject {
  return convertedFrom(cniVersion as SpecVersion, members, to);
}

function convertedFrom(from: SpecVersion, members: JsonObject, to: SpecVersion): JsonObject {
  if (!isSpecVersion(to)) throw resultError(`no converter for CNI result version ${from} to ${to}`);
  return { cniVersion: to, ...convertFamily(members, FAMILY_OF[from], FAMILY_OF[to]) };
}

function versionOf(json: JsonObject): SpecVersion {
  const written = member(json, "cniVersion") ?? "";
  const path = ["cniVersion"];
  if (typeof written !== "string") {
    throw resultError(`cniVersion must be a string, not ${kindOf(written)}`, path);
  }
  if (written === "") return DEFAULT_VERSION;
  if (!isSpecVersion(written)) throw resultError(`unsupported CNI result version "${written}"`, path);
  return written;
}
