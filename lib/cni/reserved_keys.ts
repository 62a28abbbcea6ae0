import { ConfigDocument, type ConfigSource } from "./config_document.ts";
import type { CniError } from "./error.ts";
import { formatPath, isArray, isObject, type Json, type JsonPath, member, readablePath } from "./json.ts";

/** Keys that the runtime itself writes into a request, beside those that begin with `cni.dev/`. */
const GENERATED = ["prevResult", "runtimeConfig"];
const GENERATED_PREFIX = "cni.dev/";

/** The text is read once more to find the position of each fault, and more faults than these would not help a reader. */
const MOST_FAULTS = 20;

/**
 * Whether a key of a plugin's object belongs to the runtime, which never passes on its value from a file.
 *
 * `capabilities` belongs to the runtime: the plugin declares them for it. `args` does not, although the specification
 * reserves it: the conventions give it a meaning in files.
 */
export function isReservedKey(key: string): boolean {
  return key === "capabilities" || isGenerated(key);
}

/**
 * Returns one error for each key in a configuration that only a runtime may write: `prevResult`, `runtimeConfig` and
 * those that begin with `cni.dev/`. They do no harm, because no plugin gets them, but they do not have the effect that
 * their author wanted. The text is a list or the configuration of a single plugin. Only the first 20 are returned.
 *
 * Source: CNI specification, section 1 "Plugin configuration objects".
 *
 * @throws {CniError} of kind `config` when the text is not valid JSON
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { reservedKeys } from "./reserved_keys.ts";
 *
 * const text = '{"name": "web", "plugins": [{"type": "bridge", "prevResult": {}}]}';
 * assertEquals(reservedKeys(text, { file: "web.conflist" }).map(({ message }) => message), [
 *   "web.conflist:1:62: plugins[0].prevResult is reserved for the runtime, so plugins never get it from a file",
 * ]);
 * ```
 */
export function reservedKeys(text: string, source: ConfigSource = {}): readonly CniError[] {
  const document = ConfigDocument.ofList(text, source);
  const paths = pluginsOf(document.json).flatMap(([path, plugin]) =>
    isObject(plugin) ? Object.keys(plugin).filter(isGenerated).map((key): JsonPath => [...path, key]) : []
  );
  return paths.slice(0, MOST_FAULTS).map((path) => {
    const shown = readablePath(formatPath(path));
    return document.fault(path, `${shown} is reserved for the runtime, so plugins never get it from a file`);
  });
}

function isGenerated(key: string): boolean {
  return GENERATED.includes(key) || key.startsWith(GENERATED_PREFIX);
}

function pluginsOf(json: Json): [path: JsonPath, plugin: Json][] {
  if (!isObject(json)) return [];
  const plugins = member(json, "plugins");
  // A list has no type; a single plugin may well have plugins of its own.
  if (!isArray(plugins) || member(json, "type") !== undefined) return [[[], json]];
  return plugins.map((plugin, index) => [["plugins", index], plugin]);
}
