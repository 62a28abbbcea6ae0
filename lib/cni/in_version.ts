import type { NetworkConfigList } from "./config.ts";
import { printJson } from "./json.ts";
import type { SpecVersion } from "./version.ts";

/**
 * Returns the list in one of the versions that it offers. Podwire or another runtime that reads its text again gets that
 * version too; the text changes only if that needs it.
 */
export function inVersion(list: NetworkConfigList, cniVersion: SpecVersion): NetworkConfigList {
  const chosen = { ...list, cniVersion, cniVersions: [cniVersion] };
  if (list.cniVersion === cniVersion) return chosen;
  const { cniVersions: _, ...others } = list.json;
  const json = { ...others, cniVersion };
  return { ...chosen, json, text: printJson(json) };
}
