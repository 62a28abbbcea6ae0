/**
 * The words of CNI: configurations, results, versions and errors, as the specification defines them. All of it is pure: it
 * needs no permission.
 *
 * ```ts
 * import { asResult, parseConfigList } from "@podwire/podwire/cni";
 *
 * const list = parseConfigList('{"cniVersion": "1.1.0", "name": "web", "plugins": [{"type": "bridge"}]}');
 * console.log(list.plugins.map(({ type }) => type));
 * console.log(asResult({ cniVersion: "0.4.0", ips: [{ version: "4", address: "10.1.0.2/24" }] }).ips);
 * ```
 *
 * @module
 */

export {
  CniError,
  type CniErrorOptions,
  ERROR_CODES,
  ERROR_KINDS,
  type ErrorKind,
  isCniError,
  type PluginPlace,
} from "./lib/cni/error.ts";
export {
  type ConfigSource,
  listFromPluginConfig,
  type NetworkConfigList,
  parseConfigList,
  parsePluginConfig,
  type PluginConfig,
} from "./lib/cni/config.ts";
export {
  type Json,
  type JsonNumber,
  type JsonObject,
  type JsonSource,
  parseJson,
  printJson,
} from "./lib/cni/json.ts";
export type { DuplicateKeys } from "./lib/cni/json_reader.ts";
export {
  asResult,
  convertResult,
  decodeResult,
  type Dns,
  type Interface,
  type IpConfig,
  type Result,
  type Route,
} from "./lib/cni/result.ts";
export { CURRENT_VERSION, SPEC_VERSIONS, type SpecVersion } from "./lib/cni/version.ts";
