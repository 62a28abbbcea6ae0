import { CniError } from "../cni/error.ts";
import { validatePluginType } from "../cni/name.ts";
import { type FileStat, statOf } from "../host/file.ts";
import { factsNow, type FileFacts } from "../host/file_facts.ts";
import { whyUnsafe } from "../host/file_safety.ts";
import { askForLocalDir, isLocalDir } from "../host/local_dirs.ts";
import { permissionFlag } from "../host/permissions.ts";
import { requireSafeFile } from "./safety.ts";

/**
 * Returns the directories in which a plugin is searched: the configured ones, then the vendor
 * directory `/opt/<type>/bin`. They are also the value of `CNI_PATH`.
 */
export function searchPath(type: string, dirs: readonly string[]): readonly string[] {
  const vendor = `/opt/${type}/bin`;
  return dirs.includes(vendor) ? dirs : [...dirs, vendor];
}

/** Options of {@linkcode findPlugin}. */
export interface FindPluginOptions {
  /**
   * Whether to accept a file that users other than root and the user of this process could have written: the file, a link
   * to it, or a directory above it.
   *
   * @default {false}
   */
  readonly allowUnsafeFiles?: boolean | undefined;
}

/** Result of a search for a plugin's executable. */
export interface FoundPlugin {
  /** The first executable regular file (links followed), if any. */
  readonly path: string | undefined;
  /** Files of that name that were skipped because they are not executable. */
  readonly notExecutable: readonly string[];
}

/**
 * Searches the executable of a plugin type. A file without an execute bit does not hide an
 * executable one in a later directory.
 *
 * Permissions: `--allow-read` for the directories.
 *
 * @throws {CniError} kind `config` when the type is not a file name, `plugin-start` for a file that is not safe
 *
 * @example
 * ```ts
 * import { findPlugin } from "./find.ts";
 *
 * const { path } = await findPlugin("bridge", ["/opt/cni/bin", "/usr/lib/cni"]);
 * console.log(path ?? "not installed");
 * ```
 */
export async function findPlugin(
  type: string,
  dirs: readonly string[],
  { allowUnsafeFiles = false }: FindPluginOptions = {},
): Promise<FoundPlugin> {
  validatePluginType(type);
  const notExecutable: string[] = [];
  for (const dir of searchPath(type, dirs)) {
    // An empty entry would be the working directory; programs must not be run from there.
    if (dir === "") continue;
    const path = `${dir.replace(/\/+$/, "")}/${type}`;
    const stat = await reachable(path);
    if (!stat?.isFile) continue;
    if ((stat.mode & 0o111) !== 0) {
      if (!allowUnsafeFiles) await requireSafeFile({ path, ...UNSAFE });
      return { path, notExecutable };
    }
    notExecutable.push(path);
  }
  return { path: undefined, notExecutable };
}

const UNSAFE = { refusal: "the plugin is not started", kind: "plugin-start" } as const;

/** One bad entry (a file in place of a directory, a loop of links) must not hide the directories after it. */
async function reachable(path: string): Promise<FileStat | undefined> {
  try {
    return await statOf(path);
  } catch (error) {
    if (permissionFlag(error) !== undefined) throw error;
    return undefined;
  }
}

/**
 * Finds the executable of a plugin in this turn of the event loop, in a tenth of the time of {@linkcode findPlugin}, and only if that
 * would find the same. Undefined if it has to search: a directory may be on another machine, a part of the path is a
 * symbolic link, or the file is not safe, not executable or not there.
 *
 * Permissions: the whole `--allow-read`, and the C library is open; else it finds nothing.
 */
export function findPluginNow(
  type: string,
  dirs: readonly string[],
  { allowUnsafeFiles = false }: FindPluginOptions = {},
): string | undefined {
  for (const dir of dirs) {
    const isLocal = isLocalDir(dir);
    if (isLocal === undefined) void askForLocalDir(dir);
    if (isLocal !== true || !isPlain(dir)) return undefined;
    const path = `${dir}/${type}`;
    const facts = factsNow(path, { follow: false });
    if (facts === undefined) continue;
    if (facts === "unknown" || !facts.isFile || (facts.mode & 0o111) === 0) return undefined;
    return allowUnsafeFiles || isSafe(facts) && areSafe(dir) ? path : undefined;
  }
  return undefined;
}

function isPlain(dir: string): boolean {
  return /^(?:\/[^/]+)+$/.test(dir) && !/\/\.{1,2}(?:\/|$)/.test(dir);
}

/** Whether the directory and those above it are directories, no links, and safe. */
function areSafe(dir: string): boolean {
  for (let end = dir.length; end > 0; end = dir.lastIndexOf("/", end - 1)) {
    const facts = factsNow(dir.slice(0, end), { follow: false });
    if (facts === undefined || facts === "unknown" || !facts.isDirectory || !isSafe(facts)) return false;
  }
  return true;
}

function isSafe(facts: FileFacts): boolean {
  return whyUnsafe(facts, false) === undefined;
}

/** Makes the error for a plugin that {@linkcode findPlugin} did not find. */
export function pluginMissing(type: string, dirs: readonly string[], found: FoundPlugin): CniError {
  const searched = `[${searchPath(type, dirs).join(" ")}]`;
  const [blocked] = found.notExecutable;
  if (blocked !== undefined) {
    return new CniError("plugin-missing", `${blocked} is not executable`, {
      details: `no executable plugin "${type}" in path ${searched}`,
      hint: `chmod +x ${blocked}`,
    });
  }
  return new CniError("plugin-missing", `failed to find plugin "${type}" in path ${searched}`, {
    hint: "install the plugin into one of these directories or name its directory with --plugin-dir",
  });
}
