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

type Check = (document: ConfigDocument, path: JsonPath, json: Json) => void;

const text: Check = (document, path, json) => {
  if (typeof json !== "string") throw document.wrongType(path, "a string", json);
};

const flag: Check = (document, path, json) => {
  if (typeof json !== "boolean") throw document.wrongType(path, "true or false", json);
};

const anything: Check = () => {};

const listOf = (check: Check): Check => (document, path, json) => {
  if (!isArray(json)) throw document.wrongType(path, "an array", json);
  for (const [index, element] of json.entries()) unlessNull(check)(document, [...path, index], element);
};

const dictionaryOf = (check: Check): Check => (document, path, json) => {
  if (!isObject(json)) throw document.wrongType(path, "an object", json);
  for (const [key, value] of Object.entries(json)) unlessNull(check)(document, [...path, key], value);
};

const objectOf = (checks: Readonly<Record<string, Check>>): Check => (document, path, json) => {
  if (!isObject(json)) throw document.wrongType(path, "an object", json);
  for (const [key, check] of Object.entries(checks)) {
    unlessNull(check)(document, [...path, key], member(json, key) ?? null);
  }
};

/** Everywhere in a plugin's object null is the same as nothing, as the Go library has it. */
function unlessNull(check: Check): Check {
  return (document, path, json) => json === null ? undefined : check(document, path, json);
}

const checkMembers = objectOf({
  cniVersion: text,
  name: text,
  type: text,
  capabilities: dictionaryOf(flag),
  ipam: objectOf({ type: text }),
  dns: objectOf({ nameservers: listOf(text), domain: text, search: listOf(text), options: listOf(text) }),
  prevResult: dictionaryOf(anything),
  "cni.dev/valid-attachments": listOf(objectOf({ containerID: text, ifname: text })),
});

/**
 * Reads the configuration of one plugin, the content of a `.conf` file.
 *
 * @throws {CniError} of kind `config` with line, column and path: code 6 when the text is no JSON, 7 when a member is
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
 * Reads the configuration of one plugin that stands somewhere in a document.
 *
 * @throws {CniError} as {@linkcode parsePluginConfig}
 */
export function readPluginConfig(document: ConfigDocument, path: JsonPath, json: Json): PluginConfig {
  if (!isObject(json)) throw document.wrongType(path, "an object", json);
  checkMembers(document, path, json);
  const type = member(json, "type");
  if (typeof type !== "string" || type === "") {
    throw document.missing(
      [...path, "type"],
      isArray(member(json, "plugins")) ? { hint: "a list of plugins belongs into a .conflist file" } : {},
    );
  }
  requireFileName(document, [...path, "type"], type);
  const ipam = member(json, "ipam") ?? null;
  const ipamType = isObject(ipam) ? member(ipam, "type") : undefined;
  if (typeof ipamType === "string" && ipamType !== "") {
    requireFileName(document, [...path, "ipam", "type"], ipamType);
  }
  return { type, capabilities: enabledCapabilities(json), json };
}

/** The capabilities that a plugin's object sets to true. */
export function enabledCapabilities(json: JsonObject): readonly string[] {
  const capabilities = member(json, "capabilities") ?? null;
  if (!isObject(capabilities)) return [];
  return Object.keys(capabilities).filter((name) => capabilities[name] === true);
}

/** What is looked for in a directory must not lead out of it. */
function requireFileName(document: ConfigDocument, path: JsonPath, type: string): void {
  if (isPluginType(type)) return;
  throw document.fault(path, `invalid plugin name: ${JSON.stringify(type)}`, {
    details: `${readablePath(formatPath(path))} has to be the name of a file, not a path`,
  });
}
