import { ConfigDocument, type ConfigSource } from "./config_document.ts";
import { CniError, ERROR_CODES, isCniError } from "./error.ts";
import { formatPath, type Json, type JsonObject, type JsonPath, member, printJson } from "./json.ts";
import { printSorted, sortKeys } from "./libcni_text.ts";
import { validateNetworkName } from "./name.ts";
import { enabledCapabilities, type PluginConfig, readPluginConfig } from "./plugin_config.ts";
import { isReservedKey } from "./reserved_keys.ts";
import { anyObject, anyText, anything, flag, listOf, text } from "./shape.ts";
import {
  compareVersions,
  DEFAULT_VERSION,
  isSpecVersion,
  parseVersion,
  SPEC_VERSIONS,
  type SpecVersion,
} from "./version.ts";

export { type ConfigSource } from "./config_document.ts";
export { reservedKeys } from "./reserved_keys.ts";
export { parsePluginConfig, type PluginConfig } from "./plugin_config.ts";

/**
 * A network: its name and the plugins that attach a container to it, in this order.
 *
 * Source: CNI specification, section 1 "Configuration format".
 */
export interface NetworkConfigList {
  /** The name of the network. */
  readonly name: string;
  /** The version in which podwire talks to the plugins. */
  readonly cniVersion: SpecVersion;
  /** All versions that the list offers and podwire knows, oldest first; `cniVersion` is the last of them. */
  readonly cniVersions: readonly SpecVersion[];
  /** CHECK is not called. */
  readonly disableCheck: boolean;
  /** GC is not called. */
  readonly disableGC: boolean;
  /** The plugin folder is not read. */
  readonly loadOnlyInlinedPlugins: boolean;
  /** In the order of ADD. */
  readonly plugins: readonly PluginConfig[];
  /** A text from which this list can be read again. */
  readonly text: string;
  /** The whole list, unknown keys included. */
  readonly json: JsonObject;
}

/** An attachment in the form that plugins read at GC. */
export interface ValidAttachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** Members that the runtime adds to the configuration of a plugin when it calls the plugin. */
export interface RequestOptions {
  readonly prevResult?: JsonObject | undefined;
  /** Values of capabilities; a plugin gets those of the capabilities that it declares. */
  readonly runtimeConfig?: JsonObject | undefined;
  /** Only for GC. */
  readonly validAttachments?: readonly ValidAttachment[] | undefined;
}

/**
 * Reads a network configuration list, the content of a `.conflist` file.
 *
 * A list without `plugins` is accepted unless it sets `loadOnlyInlinedPlugins`: the folder beside it may hold them.
 *
 * @throws {CniError} of kind `config` with line, column and path: code 6 when the text is not valid JSON, 7 when the list is
 * wrong or an object has a key twice
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseConfigList } from "./config.ts";
 *
 * const list = parseConfigList('{"cniVersion": "1.1.0", "name": "web", "plugins": [{"type": "bridge"}]}');
 * assertEquals(list.plugins[0]?.type, "bridge");
 * ```
 */
export function parseConfigList(text: string, source: ConfigSource = {}): NetworkConfigList {
  return readList(ConfigDocument.ofList(text, source));
}

function readList(document: ConfigDocument): NetworkConfigList {
  const json = document.read(anyObject, [], document.json);
  const name = readName(document, member(json, "name"));
  const versions = readVersions(document, member(json, "cniVersion"), member(json, "cniVersions"));
  const flags = {
    disableCheck: readFlag(document, json, "disableCheck"),
    disableGC: readFlag(document, json, "disableGC"),
    loadOnlyInlinedPlugins: readFlag(document, json, "loadOnlyInlinedPlugins"),
  };
  const plugins = readPlugins(document, member(json, "plugins"), flags.loadOnlyInlinedPlugins);
  return { name, ...versions, ...flags, plugins, text: document.text, json };
}

/**
 * Reads the configuration of a single plugin, the content of a `.conf` file, as a list of one.
 *
 * Only `name` and `cniVersion` become those of the list; `disableCheck` and similar keys have no meaning in a plugin.
 *
 * @throws {CniError} as {@linkcode parseConfigList}
 */
export function listFromPluginConfig(text: string, source: ConfigSource = {}): NetworkConfigList {
  return readPluginAsList(ConfigDocument.ofPlugin(text, source));
}

/** Reads the list that libcni makes of a single plugin; its keys are sorted. */
function readPluginAsList(document: ConfigDocument): NetworkConfigList {
  const { type, json } = readPluginConfig(document, [], document.json);
  const name = readName(document, member(json, "name") ?? undefined);
  const cniVersion = member(json, "cniVersion") ?? "";
  const versions = readVersions(document, cniVersion, undefined);
  const plugin = sortKeys(json);
  return {
    name,
    ...versions,
    ...{ disableCheck: false, disableGC: false, loadOnlyInlinedPlugins: false },
    plugins: [{ type, capabilities: enabledCapabilities(plugin), json: plugin }],
    text: printSorted({ name, cniVersion, plugins: [json] }),
    json: { cniVersion, name, plugins: [plugin] },
  };
}

/**
 * Reads the content of a file that may hold a list, as {@linkcode parseConfigList}, or the configuration of a single
 * plugin, which has a `type`, as {@linkcode listFromPluginConfig}.
 *
 * @throws {CniError} as {@linkcode parseConfigList}
 */
export function parseListOrPlugin(text: string, source: ConfigSource = {}): NetworkConfigList {
  const { document, isPlugin } = ConfigDocument.ofEither(text, source);
  return isPlugin ? readPluginAsList(document) : readList(document);
}

/**
 * Returns the list with the plugins of its folder after its own, and a text that holds all of them.
 *
 * A list that sets `loadOnlyInlinedPlugins` is returned as it is.
 *
 * @throws {CniError} of kind `config`, code 7, when there is no plugin
 */
export function withFolderPlugins(
  list: NetworkConfigList,
  plugins: readonly PluginConfig[],
  { file }: ConfigSource = {},
): NetworkConfigList {
  const all = list.loadOnlyInlinedPlugins ? list.plugins : [...list.plugins, ...plugins];
  if (all.length === 0) {
    throw new CniError("config", "no plugin configs found", {
      code: ERROR_CODES.invalidNetworkConfig,
      path: "plugins",
      line: 1,
      column: 1,
      file,
    });
  }
  if (all.length === list.plugins.length) return list;
  const json = { ...list.json, plugins: all.map((plugin) => plugin.json) };
  return { ...list, plugins: all, json, text: printJson(json) };
}

/**
 * Returns what a plugin of a list reads on its standard input: its configuration without the keys that belong to the
 * runtime, and with the keys that the runtime adds. Everything else stays as it was written.
 *
 * Source: CNI specification, section 3 "Deriving request configuration from plugin configuration".
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseConfigList, requestConfig } from "./config.ts";
 *
 * const list = parseConfigList('{"cniVersion": "1.1.0", "name": "web", "plugins": [{"type": "bridge", "mtu": 9000}]}');
 * assertEquals(requestConfig(list, list.plugins[0]!), {
 *   type: "bridge",
 *   mtu: 9000,
 *   name: "web",
 *   cniVersion: "1.1.0",
 * });
 * ```
 */
export function requestConfig(
  list: NetworkConfigList,
  plugin: PluginConfig,
  options: RequestOptions = {},
): JsonObject {
  const { prevResult, runtimeConfig = {}, validAttachments } = options;
  const declared = new Set(plugin.capabilities);
  const wanted = Object.entries(runtimeConfig).filter(([name]) => declared.has(name));
  const attachments = validAttachments?.map(({ containerID, ifname }) => ({ containerID, ifname }));
  return {
    ...Object.fromEntries(Object.entries(plugin.json).filter(([key]) => !isReservedKey(key))),
    name: list.name,
    cniVersion: list.cniVersion,
    ...(wanted.length === 0 ? {} : { runtimeConfig: Object.fromEntries(wanted) }),
    ...(prevResult === undefined ? {} : { prevResult }),
    // The second key is from a draft of the specification; plugins made from that draft still read it.
    ...(attachments === undefined
      ? {}
      : { "cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments }),
  };
}

function readName(document: ConfigDocument, json: Json | undefined): string {
  const path = ["name"];
  if (json === undefined) throw document.missing(path);
  const name = document.read(text(), path, json);
  try {
    validateNetworkName(name);
  } catch (error) {
    if (!isCniError(error)) throw error;
    throw document.fault(path, `name: ${error.msg}`, { details: name });
  }
  return name;
}

/** Chooses the highest version that the list offers and podwire knows. Source: CNI specification, section 1 "Version considerations". */
function readVersions(
  document: ConfigDocument,
  single: Json | undefined,
  several: Json | undefined,
): Pick<NetworkConfigList, "cniVersion" | "cniVersions"> {
  const one = single === undefined ? "" : document.read(anyText, ["cniVersion"], single);
  const list = several === undefined ? [] : document.read(listOf(anyText), ["cniVersions"], several);
  const entries = list.map((version, index) => ({ path: ["cniVersions", index] as JsonPath, version }));
  if (one !== "") entries.push({ path: ["cniVersion"], version: one });
  const known = new Set(entries.map(({ path, version }) => readVersion(document, path, version)));
  const cniVersions = entries.length === 0
    ? [DEFAULT_VERSION]
    : SPEC_VERSIONS.filter((text) => known.has(text));
  const cniVersion = cniVersions.at(-1);
  if (cniVersion !== undefined) return { cniVersion, cniVersions };
  const path = [several === undefined ? "cniVersion" : "cniVersions"];
  const given = entries.map(({ version }) => JSON.stringify(version)).join(", ");
  throw document.fault(path, `${path[0]} has no version that is supported: ${given}`, {
    details: `the supported versions are ${SPEC_VERSIONS.join(", ")}`,
  });
}

/** Returns a version of the table, or undefined for one that podwire does not know. */
function readVersion(document: ConfigDocument, path: JsonPath, version: string): SpecVersion | undefined {
  if (isSpecVersion(version)) return version;
  try {
    parseVersion(version);
  } catch (error) {
    if (!isCniError(error)) throw error;
    throw document.fault(path, `${formatPath(path)}: ${error.msg}`);
  }
  const meant = SPEC_VERSIONS.find((known) => compareVersions(known, version) === 0);
  if (meant === undefined) return undefined;
  throw document.fault(path, `${formatPath(path)} must be written as "${meant}", not "${version}"`);
}

function readFlag(document: ConfigDocument, list: JsonObject, key: string): boolean {
  const json = member(list, key) ?? (Object.hasOwn(list, key) ? null : false);
  if (typeof json !== "string") return document.read(flag, [key], json);
  const word = json.toLowerCase();
  if (word === "true" || word === "false") return word === "true";
  throw document.fault([key], `${key} must be true or false, not ${JSON.stringify(json)}`);
}

function readPlugins(document: ConfigDocument, json: Json | undefined, inlinedOnly: boolean): PluginConfig[] {
  const path = ["plugins"];
  if (json === undefined) {
    if (inlinedOnly) throw document.missing(path, { details: "loadOnlyInlinedPlugins is true" });
    return [];
  }
  const plugins = document.read(listOf(anything), path, json);
  if (plugins.length === 0) throw document.fault(path, "plugins must not be empty");
  return plugins.map((plugin, index) => readPluginConfig(document, [...path, index], plugin));
}
