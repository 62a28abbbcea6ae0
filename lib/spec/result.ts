import { isObject, type Json, type JsonObject, kindOf, member } from "./json.ts";
import { convertFamily, type Result } from "./result_convert.ts";
import { FAMILY_OF, normaliseResult, resultError } from "./result_shape.ts";
import { CURRENT_VERSION, DEFAULT_VERSION, isSpecVersion, type SpecVersion } from "./version.ts";

export { type Dns, type Interface, type IpConfig, type Result, type Route } from "./result_convert.ts";

/**
 * Reads what a plugin answered to ADD, and gives it in the version of the configuration.
 *
 * An answer without version has the configuration's. Addresses are brought into canonical form; members that CNI does
 * not know are kept as long as the answer needs no conversion.
 *
 * @throws {CniError} of kind `plugin-output`, code 6, with the path of what is wrong
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
  const document = json ?? {};
  if (!isObject(document)) throw resultError(`the result must be an object, not ${kindOf(document)}`);
  const written = member(document, "cniVersion");
  const cniVersion = typeof written === "string" && written !== "" ? written : configVersion;
  return convertResult({ ...document, cniVersion }, configVersion);
}

/**
 * Gives a result in another version; what that version has no words for is lost. The empty version is 0.1.0, both that
 * of the result and the one asked for.
 *
 * @throws {CniError} as {@linkcode decodeResult}; also when 0.1.0 or 0.2.0 is asked for and there is no address, since
 * results of these versions are about addresses only
 */
export function convertResult(json: JsonObject | Result, to: SpecVersion | ""): JsonObject {
  const target = to || DEFAULT_VERSION;
  const family = FAMILY_OF[versionOf(json)];
  const members = convertFamily(normaliseResult(json, family), family, FAMILY_OF[target]);
  return { cniVersion: target, ...members };
}

/**
 * Gives a result of any version in the words of 1.1.0.
 *
 * @throws {CniError} as {@linkcode decodeResult}
 */
export function asResult(json: JsonObject): Result {
  return convertResult(json, CURRENT_VERSION) as unknown as Result;
}

function versionOf(json: JsonObject): SpecVersion {
  const written = member(json, "cniVersion") ?? "";
  if (typeof written !== "string") throw resultError(`cniVersion must be a string, not ${kindOf(written)}`);
  if (written === "") return DEFAULT_VERSION;
  if (!isSpecVersion(written)) throw resultError(`unsupported CNI result version "${written}"`);
  return written;
}
