import type { CallOptions } from "../async/call_options.ts";
import {
  listFromPluginConfig,
  type NetworkConfigList,
  parseConfigList,
  parseListOrPlugin,
  parsePluginConfig,
  type PluginConfig,
  withFolderPlugins,
} from "../cni/config.ts";
import { CniError, type CniErrorOptions, ERROR_CODES, isCniError } from "../cni/error.ts";
import { isObject, type Json, member, parseJson } from "../cni/json.ts";
import { call } from "../errors/call.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { listAnyDir, readFileIfThere, realPath, statOf, UnreadableFileError } from "../host/file.ts";

const EXTENSIONS = [".conf", ".conflist", ".json"];

/** A file of the configuration directory: the network that it defines, or why it is unusable. */
export type LoadedFile =
  | { readonly file: string; readonly list: NetworkConfigList; readonly error?: undefined }
  | { readonly file: string; readonly list?: undefined; readonly error: CniError };

/**
 * Loads every `.conf`, `.conflist` and `.json` file of a configuration directory, in byte order of
 * the file names. An unusable file is returned in its place and does not hide the others. A
 * directory that does not exist holds no networks.
 *
 * Permissions: `--allow-read` for the directory.
 *
 * @throws {CniError} if the directory cannot be read
 *
 * @example
 * ```ts
 * import { loadDirectory } from "./load.ts";
 *
 * for (const { file, list, error } of await loadDirectory("/etc/cni/net.d")) {
 *   console.log(file, list?.name ?? error?.message);
 * }
 * ```
 */
export async function loadDirectory(
  dir: string,
  { signal }: CallOptions = {},
): Promise<readonly LoadedFile[]> {
  const loaded: LoadedFile[] = [];
  const names = await call({ signal }, () => listAnyDir(dir), { file: dir });
  for (const name of configNames(names)) {
    if (signal?.aborted) throw asCniError(signal.reason);
    const file = `${dir}/${name}`;
    try {
      const list = await loadFile(dir, name);
      if (list !== undefined) loaded.push({ file, list });
    } catch (error) {
      loaded.push({ file, error: asCniError(error, { file }) });
    }
  }
  return loaded;
}

/**
 * Loads the network of one file. A `.conflist` file is a list, to which the plugins of the folder with the name of the
 * network are added. Any other file is the configuration of a single plugin.
 *
 * Permissions: `--allow-read` for the file and its directory.
 *
 * Source: CNI specification 1.1.0, section 1 "Network configuration format".
 *
 * @throws {CniError} kind `not-found`, or `config` with line and column
 *
 * @example
 * ```ts
 * import { loadNetworkFile } from "./load.ts";
 *
 * const { name, cniVersions } = await loadNetworkFile("/etc/cni/net.d/10-web.conflist");
 * console.log(name, cniVersions);
 * ```
 */
export async function loadNetworkFile(
  path: string,
  options: CallOptions = {},
): Promise<NetworkConfigList> {
  const slash = path.lastIndexOf("/");
  const [dir, name] = slash < 0 ? [".", path] : [path.slice(0, slash), path.slice(slash + 1)];
  const list = await call(options, () => loadFile(dir, name), { file: path });
  if (list !== undefined) return list;
  throw new CniError("not-found", "the configuration file does not exist", { file: path });
}

/**
 * Parses the content of a file, as text or as bytes: a list, or the configuration of a single plugin, which has a `type`.
 *
 * Permissions: none.
 *
 * Source: CNI specification 1.1.0, section 1 "Network configuration format".
 *
 * @throws {CniError} kind `config` with line and column: code 6 if it is not JSON in UTF-8, 7 if the configuration is wrong
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseNetwork } from "./load.ts";
 *
 * const network = parseNetwork('{"cniVersion": "1.1.0", "name": "web", "plugins": [{"type": "bridge"}]}');
 * assertEquals(network.plugins.map(({ type }) => type), ["bridge"]);
 * ```
 */
export function parseNetwork(
  content: string | Uint8Array,
  source: { readonly file?: string | undefined } = {},
): NetworkConfigList {
  const text = typeof content === "string" ? content : decodeText(content, source);
  return withFolderPlugins(parseListOrPlugin(text, source), [], source);
}

function decodeText(bytes: Uint8Array, source: { readonly file?: string | undefined }): string {
  try {
    // The byte order mark stays: the JSON reader refuses it.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (!isUtf16(bytes)) return text;
  } catch (cause) {
    if (!isUtf16(bytes)) throw notUtf8("the configuration is not UTF-8", source, cause);
  }
  throw notUtf8("the configuration is UTF-16, not UTF-8", {
    ...source,
    hint: "save it as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8",
  });
}

function notUtf8(msg: string, context: CniErrorOptions, cause?: unknown): CniError {
  return new CniError("config", msg, { ...context, code: ERROR_CODES.decodingFailure, cause });
}

/** Whether bytes are UTF-16: they have its byte order mark, or a zero beside the first character, which is ASCII in JSON. */
function isUtf16([first, second]: Uint8Array): boolean {
  const isMark = (first === 0xfe && second === 0xff) || (first === 0xff && second === 0xfe);
  return isMark || (first !== undefined && second !== undefined && (first === 0) !== (second === 0));
}

/** Returns the names that are those of configuration files. */
export function configNames(names: readonly string[]): readonly string[] {
  return names.filter(isConfigName);
}

/** Whether a file of this name can be a configuration file. */
export function isConfigName(name: string): boolean {
  return EXTENSIONS.includes(name.slice(name.lastIndexOf(".")));
}

/**
 * Loads one file: a list with the plugins of its folder, or a single configuration as a list of one
 * plugin. Returns undefined for a file that is gone and for a directory with the extension of a file.
 */
async function loadFile(dir: string, name: string): Promise<NetworkConfigList | undefined> {
  const file = `${dir}/${name}`;
  const text = await readConfigFile(dir, name);
  if (text === undefined) return undefined;
  const list = parseFile(text, file);
  const folder = folderOf(list, file);
  return folder === undefined ? list : withFolder(list, await folderPlugins(folder), file);
}

/** Parses the text of a file, without the plugins of its folder. */
export function parseFile(text: string, file: string): NetworkConfigList {
  try {
    return parseByExtension(text, file);
  } catch (error) {
    throw isCniError(error) ? error.within(namingAdvice(text, file)) : error;
  }
}

function parseByExtension(text: string, file: string): NetworkConfigList {
  if (!file.endsWith(".conflist")) return listFromPluginConfig(text, { file });
  const list = parseConfigList(text, { file });
  return list.loadOnlyInlinedPlugins ? withFolder(list, [], file) : list;
}

/** Says how a file should be named if its extension does not fit its content. */
function namingAdvice(text: string, file: string): { readonly details?: string } {
  let json: Json;
  try {
    json = parseJson(text);
  } catch {
    return {};
  }
  if (!isObject(json)) return {};
  const [isList, isPlugin] = [member(json, "plugins") !== undefined, member(json, "type") !== undefined];
  const stem = file.slice(file.lastIndexOf("/") + 1, file.lastIndexOf("."));
  if (!file.endsWith(".conflist") && isList && !isPlugin) {
    return { details: `it holds a list of plugins, so its name should be ${stem}.conflist` };
  }
  if (file.endsWith(".conflist") && isPlugin && !isList) {
    return { details: `it holds the configuration of a single plugin, so its name should be ${stem}.conf` };
  }
  return {};
}

/** Returns the plugin folder of a list. The name is validated, so the path stays inside the directory. */
export function folderOf(list: NetworkConfigList, file: string): string | undefined {
  if (!file.endsWith(".conflist") || list.loadOnlyInlinedPlugins) return undefined;
  return `${file.slice(0, file.lastIndexOf("/"))}/${list.name}`;
}

/**
 * Adds the plugins of the folder to the list of a file.
 *
 * @throws {CniError} of kind `config`, code 7, if there are no plugins at all
 */
export function withFolder(
  list: NetworkConfigList,
  plugins: readonly PluginConfig[],
  file: string,
): NetworkConfigList {
  try {
    return withFolderPlugins(list, plugins, { file });
  } catch (error) {
    throw isCniError(error) ? error.within(namingAdvice(list.text, file)) : error;
  }
}

/**
 * Returns the text of a file, or undefined if it does not exist. A link that leads nowhere or to a directory is an error: a
 * network was meant to be here.
 */
export async function readConfigFile(dir: string, name: string): Promise<string | undefined> {
  const file = `${dir}/${name}`;
  const stat = await statOf(file);
  if (stat?.isDirectory) {
    if (await realPath(file) === `${await realPath(dir)}/${name}`) return undefined;
    throw new CniError("config", "the link leads to a directory", { file });
  }
  if (stat !== undefined) return await readText(file);
  if (!(await listAnyDir(dir)).includes(name)) return undefined;
  throw new CniError("config", "the link leads nowhere", { file });
}

async function readText(file: string): Promise<string | undefined> {
  try {
    const bytes = await readFileIfThere(file);
    return bytes && decodeText(bytes, { file });
  } catch (cause) {
    if (!(cause instanceof UnreadableFileError)) throw cause;
    const code = ERROR_CODES.ioFailure;
    throw new CniError("config", `the configuration cannot be read: ${cause.why}`, { file, code, cause });
  }
}

/** Loads the plugins in `<confdir>/<network>/*.conf`. */
export async function folderPlugins(
  folder: string,
  check: (file: string) => Promise<void> = () => Promise.resolve(),
): Promise<readonly PluginConfig[]> {
  const plugins: PluginConfig[] = [];
  for (const name of await namesIn(folder)) {
    if (!name.endsWith(".conf")) continue;
    await check(`${folder}/${name}`);
    const text = await readConfigFile(folder, name);
    if (text !== undefined) plugins.push(parsePluginConfig(text, { file: `${folder}/${name}` }));
  }
  return plugins;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await listAnyDir(folder);
  } catch (error) {
    const cause = asCniError(error);
    throw new CniError(cause.kind, `failed to read plugin config files in ${folder}: ${cause.msg}`, {
      ...cause.context,
      code: cause.code,
      cause,
    });
  }
}
