import type { NetworkConfigList } from "./config.ts";
import { printJson } from "./json.ts";
import type { SpecVersion } from "./version.ts";

/**
 * The list in one of the versions that it offers. Its text, read again by podwire or by another runtime, speaks that
 * one too; it stays as it was written where it does so by itself.
 */
export function inVersion(list: NetworkConfigList, cniVersion: SpecVersion): NetworkConfigList {
  const chosen = { ...list, cniVersion, cniVersions: [cniVersion] };
  if (list.cniVersion === cniVersion) return chosen;
  const { cniVersions: _, ...others } = list.json;
  const json = { ...others, cniVersion };
  return { ...chosen, json, text: printJson(json) };
}
