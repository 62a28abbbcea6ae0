import { resolve } from "@std/path/posix";
import { inParallel } from "../async/parallel.ts";
import { CniError } from "../cni/error.ts";
import type { JsonPath } from "../cni/json.ts";
import {
  folderOf,
  folderPlugins,
  isConfigName,
  parseFile,
  readConfigFile,
  withFolder,
} from "../catalog/load.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { listAnyDir, statOf } from "../host/file.ts";
import { unsafeFile } from "../host/file_safety.ts";
import {
  ipamOf,
  isListFile,
  type NetworkFile,
  type PlacedPlugin,
  placedPlugin,
  pluginsIn,
  type ReadText,
  readText,
} from "./network_file.ts";
import type { LintSubject, PluginAnswer } from "./rule.ts";

/** How files are gathered. */
export interface GatherOptions {
  /** Whether files that other users can write are accepted. */
  readonly allowUnsafeFiles: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Asks what runs for a plugin type; it has to bound the time itself. */
export type AskPlugin = (
  type: string,
  config: PlacedPlugin["json"],
  signal?: AbortSignal,
) => Promise<PluginAnswer>;

const CONCURRENT_READS = 8;
const CONCURRENT_PLUGINS = 4;

/**
 * Reads files, and all files of directories.
 *
 * Permissions: `--allow-read` for the files and the directories above them.
 *
 * @throws {CniError} kind `not-found` for a path at which nothing is
 */
export async function gatherFiles(
  paths: readonly string[],
  options: GatherOptions,
): Promise<readonly NetworkFile[]> {
  const found: { readonly dir: string; readonly name: string }[] = [];
  const unsafeDirs: NetworkFile[] = [];
  for (const path of paths) {
    const stat = await statOf(path);
    if (stat === undefined) {
      throw new CniError("not-found", "the file or directory does not exist", { file: path });
    }
    if (!stat.isDirectory) {
      const slash = path.lastIndexOf("/");
      found.push({ dir: slash < 0 ? "." : path.slice(0, slash) || "/", name: path.slice(slash + 1) });
      continue;
    }
    const dir = path.replace(/(?<=.)\/+$/, "");
    unsafeDirs.push(...await unsafeDirectory(dir, options));
    for (const name of await listAnyDir(dir)) {
      if (!name.startsWith(".") && (isConfigName(name) || !(await statOf(`${dir}/${name}`))?.isDirectory)) {
        found.push({ dir, name });
      }
    }
  }
  const isGiven = new Set(paths);
  const once = new Map(found.map((file) => [shown(file), file]));
  const files = await inParallel(
    [...once.values()],
    CONCURRENT_READS,
    (file) => readFile(file, isGiven.has(shown(file)), options),
  );
  options.signal?.throwIfAborted();
  return [...unsafeDirs, ...files.flat()];
}

function shown({ dir, name }: { readonly dir: string; readonly name: string }): string {
  return dir === "." ? name : `${dir === "/" ? "" : dir}/${name}`;
}

async function unsafeDirectory(
  dir: string,
  { allowUnsafeFiles }: GatherOptions,
): Promise<readonly NetworkFile[]> {
  const unsafe = allowUnsafeFiles ? undefined : await unsafeFile(resolve(dir), { listed: true });
  return unsafe === undefined ? [] : [{ file: dir, isConfig: true, plugins: [], unsafe: named(unsafe, dir) }];
}

/** Calls a path as the caller has named it. */
function named<T extends { readonly path: string }>(unsafe: T, path: string): T {
  return unsafe.path === resolve(path) ? { ...unsafe, path } : unsafe;
}

async function readFile(
  place: { readonly dir: string; readonly name: string },
  isGiven: boolean,
  { allowUnsafeFiles }: GatherOptions,
): Promise<readonly NetworkFile[]> {
  const file = shown(place);
  // What is named is meant to be a configuration, whatever its name is; a single plugin is the weaker assumption.
  const isConfig = isConfigName(place.name);
  const found = allowUnsafeFiles ? undefined : await unsafeFile(resolve(file));
  const unsafe = found && isConfig ? named(found, file) : undefined;
  let text: string | undefined;
  try {
    text = await readConfigFile(place.dir, place.name);
  } catch (error) {
    const refusal = asCniError(error, { file });
    return isConfig || isGiven
      ? [{ file, isConfig, refusal, plugins: [], unsafe }]
      : [{ file, isConfig, plugins: [] }];
  }
  // A directory that is called like a file.
  if (text === undefined) return [];
  const read = readText(file, text);
  if (!isConfig) return [{ file, isConfig, read, plugins: [] }];
  try {
    return [{ file, isConfig, read, unsafe, ...await engineReads(file, text, read) }];
  } catch (error) {
    const plugins = read === undefined ? [] : pluginsIn(read, isListFile({ file }));
    return [{ file, isConfig, read, unsafe, refusal: asCniError(error, { file }), plugins }];
  }
}

/** Reads a file as the engine does, its plugin folder included. */
async function engineReads(
  file: string,
  text: string,
  read: ReadText | undefined,
): Promise<Pick<NetworkFile, "list" | "plugins">> {
  const own = parseFile(text, file);
  if (read === undefined) throw new CniError("config", "the file cannot be read", { file });
  const inlined = own.plugins.map((plugin, at) =>
    placedPlugin(read, isListFile({ file }) ? ["plugins", at] : [], plugin)
  );
  const folder = folderOf(own, file.includes("/") ? file : `./${file}`);
  if (folder === undefined) return { list: own, plugins: inlined };
  const names: string[] = [];
  const plugins = await folderPlugins(folder, (path) => Promise.resolve(void names.push(path)));
  const list = withFolder(own, plugins, file);
  return { list, plugins: [...inlined, ...await placedInFolder(names, list.plugins.slice(inlined.length))] };
}

async function placedInFolder(
  paths: readonly string[],
  plugins: PlacedPluginConfigs,
): Promise<readonly PlacedPlugin[]> {
  const sources: ReadText[] = [];
  for (const path of paths) {
    const slash = path.lastIndexOf("/");
    const text = await readConfigFile(path.slice(0, slash), path.slice(slash + 1));
    const read = text === undefined ? undefined : readText(path, text);
    if (read !== undefined) sources.push(read);
  }
  const whole: JsonPath = [];
  return plugins.flatMap((plugin, at) => {
    const source = sources[at];
    return source === undefined ? [] : [placedPlugin(source, whole, plugin)];
  });
}

type PlacedPluginConfigs = readonly Parameters<typeof placedPlugin>[2][];

/** Asks for each plugin of the files once, several at a time. */
export async function gatherAnswers(
  files: readonly NetworkFile[],
  ask: AskPlugin,
  signal?: AbortSignal,
): Promise<LintSubject["answerOf"]> {
  const wanted = new Map<string, readonly [type: string, config: PlacedPlugin["json"]]>();
  for (const { list, plugins } of files) {
    if (list === undefined) continue;
    for (const plugin of plugins) {
      wanted.set(keyOf(plugin.type, plugin.json), [plugin.type, plugin.json]);
      const ipam = ipamOf(plugin);
      if (ipam !== undefined) wanted.set(keyOf(ipam.type, {}), [ipam.type, {}]);
    }
  }
  const answers = new Map<string, PluginAnswer>();
  await inParallel([...wanted], CONCURRENT_PLUGINS, async ([key, [type, config]]) => {
    answers.set(key, await ask(type, config, signal));
  });
  signal?.throwIfAborted();
  return (type, config) => answers.get(keyOf(type, config));
}

/** Of a plugin's configuration, only this member decides what runs. */
function keyOf(type: string, { podwireBuiltin = null }: PlacedPlugin["json"]): string {
  return `${podwireBuiltin === true} ${type}`;
}
