import { ConfigDocument, type ConfigSource } from "./config_document.ts";
import {
  formatPath,
  isArray,
  isObject,
  type Json,
  type JsonObject,
  type JsonPath,
  member,
  readablePath,
} from "./json.ts";
import { isPluginType } from "./name.ts";
import { anyObject, anyText, flag, listOf, mapOf, openObjectOf, orNull } from "./shape.ts";

/**
 * The configuration of one plugin.
 *
 * Source: CNI specification, section 1 "Plugin configuration objects".
 */
export interface PluginConfig {
  /** The type, which is the name of the executable. */
  readonly type: string;
  /** The capabilities that are set to true. */
  readonly capabilities: readonly string[];
  /** The whole object as written, unknown keys and the text of numbers included. */
  readonly json: JsonObject;
}

/** A string; null is the same as nothing everywhere in a plugin's object, as in the Go library. */
const TEXT = orNull(anyText);
const TEXTS = orNull(listOf(TEXT));

/** The members whose types the runtime checks. */
export const PLUGIN_SHAPE = openObjectOf({}, {
  cniVersion: TEXT,
  name: TEXT,
  type: TEXT,
  capabilities: orNull(mapOf(orNull(flag))),
  ipam: orNull(openObjectOf({}, { type: TEXT })),
  dns: orNull(openObjectOf({}, { nameservers: TEXTS, domain: TEXT, search: TEXTS, options: TEXTS })),
  prevResult: orNull(anyObject),
  "cni.dev/valid-attachments": orNull(listOf(orNull(openObjectOf({}, { containerID: TEXT, ifname: TEXT })))),
});

/**
 * Reads the configuration of one plugin, the content of a `.conf` file.
 *
 * @throws {CniError} of kind `config` with line, column and path: code 6 when the text is not valid JSON, 7 when a member is
 * missing, of the wrong type or there twice
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parsePluginConfig } from "./plugin_config.ts";
 *
 * const plugin = parsePluginConfig('{"type": "portmap", "capabilities": {"portMappings": true}}');
 * assertEquals(plugin.capabilities, ["portMappings"]);
 * ```
 */
export function parsePluginConfig(text: string, source: ConfigSource = {}): PluginConfig {
  const document = ConfigDocument.ofPlugin(text, source);
  return readPluginConfig(document, [], document.json);
}

/**
 * Reads the configuration of one plugin at a path of a document.
 *
 * @throws {CniError} as {@linkcode parsePluginConfig}
 */
export function readPluginConfig(document: ConfigDocument, path: JsonPath, value: Json): PluginConfig {
  const json = document.read(anyObject, path, value);
  const { type = "", ipam } = document.read(PLUGIN_SHAPE, path, json);
  if (type === "") {
    throw document.missing(
      [...path, "type"],
      isArray(member(json, "plugins")) ? { hint: "a list of plugins belongs into a .conflist file" } : {},
    );
  }
  requireFileName(document, [...path, "type"], type);
  if (ipam?.type) requireFileName(document, [...path, "ipam", "type"], ipam.type);
  return { type, capabilities: enabledCapabilities(json), json };
}

/** The capabilities that a plugin's object sets to true. */
export function enabledCapabilities(json: JsonObject): readonly string[] {
  const capabilities = member(json, "capabilities") ?? null;
  if (!isObject(capabilities)) return [];
  return Object.keys(capabilities).filter((name) => capabilities[name] === true);
}

/** A name that is looked for in a directory must not lead out of that directory. */
function requireFileName(document: ConfigDocument, path: JsonPath, type: string): void {
  if (isPluginType(type)) return;
  throw document.fault(path, `invalid plugin name: ${JSON.stringify(type)}`, {
    details: `${readablePath(formatPath(path))} must be the name of a file, not a path`,
  });
}
