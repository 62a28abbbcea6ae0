import { ConfigDocument } from "../cni/config_document.ts";
import type { NetworkConfigList, PluginConfig } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import { isArray, isObject, type Json, type JsonObject, type JsonPath, member } from "../cni/json.ts";

/** A text that can be read as JSON, and where it is from. */
export interface ReadText {
  readonly file: string;
  readonly document: ConfigDocument;
}

/** A plugin, and where its configuration is written: in the list, or in a file of the plugin folder. */
export interface PlacedPlugin {
  readonly source: ReadText;
  readonly path: JsonPath;
  readonly type: string;
  readonly json: JsonObject;
  readonly capabilities: readonly string[];
}

/** Why other users can change a file. */
export interface Unsafe {
  /** The file, or the directory above it that is at fault. */
  readonly path: string;
  readonly why: string;
}

/** A file of a configuration, as far as it can be read. */
export interface NetworkFile {
  readonly file: string;
  /** Whether its name is that of a configuration file. */
  readonly isConfig: boolean;
  /** Undefined if it is not JSON. */
  readonly read?: ReadText | undefined;
  /** Why the engine refuses it. */
  readonly refusal?: CniError | undefined;
  /** Undefined if the engine refuses it. */
  readonly list?: NetworkConfigList | undefined;
  /** The plugins, in the order of ADD; those that are written in a refused list, as far as they are objects with a type. */
  readonly plugins: readonly PlacedPlugin[];
  readonly unsafe?: Unsafe | undefined;
}

/** Reads a text; undefined if it is not JSON. A key that is there twice is an error of the engine's reader. */
export function readText(file: string, text: string): ReadText | undefined {
  try {
    return { file, document: ConfigDocument.ofEither(text, { file, duplicateKeys: "last wins" }).document };
  } catch {
    return undefined;
  }
}

/** The object of a text; undefined if it holds something else. */
export function objectOf({ read }: NetworkFile): JsonObject | undefined {
  return read !== undefined && isObject(read.document.json) ? read.document.json : undefined;
}

/** Whether the file is a list, as its name says. */
export function isListFile({ file }: Pick<NetworkFile, "file">): boolean {
  return file.endsWith(".conflist");
}

/** The plugins that are written in a text, whatever else is wrong with it. */
export function pluginsIn(source: ReadText, isList: boolean): readonly PlacedPlugin[] {
  const { json } = source.document;
  if (!isList) return placed(source, [], json);
  const plugins = isObject(json) ? member(json, "plugins") : undefined;
  return isArray(plugins) ? plugins.flatMap((plugin, at) => placed(source, ["plugins", at], plugin)) : [];
}

/** A plugin that the engine has read. */
export function placedPlugin(source: ReadText, path: JsonPath, plugin: PluginConfig): PlacedPlugin {
  return { source, path, type: plugin.type, json: plugin.json, capabilities: plugin.capabilities };
}

function placed(source: ReadText, path: JsonPath, json: Json): readonly PlacedPlugin[] {
  if (!isObject(json)) return [];
  const type = member(json, "type");
  if (typeof type !== "string" || type === "") return [];
  const declared = member(json, "capabilities") ?? null;
  const names = isObject(declared) ? Object.keys(declared).filter((name) => declared[name] === true) : [];
  return [{ source, path, type, json, capabilities: names }];
}

/** The member `ipam` of a plugin, if it is an object with a type. */
export function ipamOf(
  { json }: PlacedPlugin,
): { readonly type: string; readonly json: JsonObject } | undefined {
  const ipam = member(json, "ipam");
  if (!isObject(ipam)) return undefined;
  const type = member(ipam, "type");
  return typeof type === "string" && type !== "" ? { type, json: ipam } : undefined;
}
