import { inParallel } from "../async/parallel.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { asCniError, withCniErrors } from "../errors/to_cni_error.ts";
import { compareBytes, realPath, statOf } from "../host/file.ts";
import { DirListing, identityOf, isSettled } from "../host/listing.ts";
import type { FindPluginOptions } from "../plugin/find.ts";
import { requireSafeFile } from "../plugin/safety.ts";
import {
  configNames,
  folderOf,
  folderPlugins,
  isConfigName,
  type LoadedFile,
  parseFile,
  readConfigFile,
  withFolder,
} from "./load.ts";

/** A parsed file, without its plugin folder. */
interface Parsed {
  readonly text: string;
  readonly list: NetworkConfigList;
  /** Whether the path is a link, or leads through one: then other directories affect its content. */
  readonly isLink: boolean;
}

/** What is known about a file. An identity is undefined if it could stay the same after a change. */
interface Known {
  readonly own: string | undefined;
  /** The identities of the files in the plugin folder; empty if there are none. */
  readonly inFolder: string | undefined;
  /** Undefined if the file is unusable. */
  readonly parsed: Parsed | undefined;
  /** The result with the plugin folder; undefined if the path is not a configuration file. */
  readonly loaded: LoadedFile | undefined;
}

/** The state of one reading of the directory. */
interface Reading {
  readonly names: ReadonlySet<string>;
  readonly folders: Map<string, DirListing>;
}

/** The number of threads that Deno has for files. */
const MAX_CONCURRENT_READS = 32;

/**
 * A configuration directory that is read again and again. A file that has not changed is not read or parsed again, and its
 * object stays the same. Only one reading may run at a time.
 *
 * Permissions: `--allow-read` for the directory.
 */
export class ConfigDirectory {
  readonly #listing: DirListing;
  readonly #allowUnsafeFiles: boolean;
  #folders: ReadonlyMap<string, DirListing> = new Map();
  #known: ReadonlyMap<string, Known> = new Map();

  constructor(readonly dir: string, { allowUnsafeFiles = false }: FindPluginOptions = {}) {
    this.#listing = new DirListing(dir);
    this.#allowUnsafeFiles = allowUnsafeFiles;
  }

  /** Further paths that affected the last reading: plugin folders, and files that are links. */
  get furtherPaths(): readonly string[] {
    const links = [...this.#known].flatMap(([name, { parsed }]) =>
      parsed?.isLink ? [`${this.dir}/${name}`] : []
    );
    return [...this.#folders.keys(), ...links];
  }

  /** Whether an entry of this name can affect a reading: a configuration file, or the plugin folder of one. */
  concerns(name: string): boolean {
    return isConfigName(name) ||
      [...this.#known].some(([file, { parsed }]) =>
        parsed !== undefined && folderOf(parsed.list, `${this.dir}/${file}`) === `${this.dir}/${name}`
      );
  }

  /**
   * Returns what `loadDirectory` does. If a directory changes while it is listed, the list can lack a file that exists all
   * the time. So the `expected` files are also opened by name.
   *
   * @throws {CniError} if the directory cannot be read
   */
  async read(expected: Iterable<string> = []): Promise<readonly LoadedFile[]> {
    await this.#requireSafe(this.dir, true);
    const names = await withCniErrors(() => this.#listing.names(), { file: this.dir });
    const listed = configNames(names);
    const wanted = [...new Set([...listed, ...expected])];
    if (wanted.length > listed.length) wanted.sort(compareBytes);
    const reading: Reading = { names: new Set(names), folders: new Map() };
    const known = await inParallel(wanted, MAX_CONCURRENT_READS, (name) => this.#readFile(name, reading));
    this.#folders = reading.folders;
    this.#known = new Map(wanted.map((name, index) => [name, known[index] as Known]));
    return known.flatMap(({ loaded }) => loaded ?? []);
  }

  async #readFile(name: string, reading: Reading): Promise<Known> {
    const file = `${this.dir}/${name}`;
    const before = this.#known.get(name);
    const own = await identityOfFile(file);
    const isSame = own !== undefined && own === before?.own;
    try {
      const parsed = isSame ? before?.parsed : await this.#parse(name, before?.parsed);
      // An unusable file that has not changed is still unusable.
      if (parsed === undefined) return isSame && before ? before : unusable(own);
      return await this.#complete(file, { own, parsed }, before, reading);
    } catch (cause) {
      return { ...unusable(own), loaded: { file, error: asCniError(cause, { file }) } };
    }
  }

  async #parse(name: string, before: Parsed | undefined): Promise<Parsed | undefined> {
    const file = `${this.dir}/${name}`;
    await this.#requireSafe(file);
    const text = await readConfigFile(this.dir, name);
    if (text === undefined) return undefined;
    const isLink = await realPath(file) !== `${await realPath(this.dir)}/${name}`;
    if (text === before?.text && isLink === before.isLink) return before;
    return { text, list: parseFile(text, file), isLink };
  }

  /** Adds the plugins of the plugin folder. */
  async #complete(
    file: string,
    own: Pick<Known, "own"> & { readonly parsed: Parsed },
    before: Known | undefined,
    reading: Reading,
  ): Promise<Known> {
    const { list } = own.parsed;
    const folder = folderOf(list, file);
    if (folder === undefined) return { ...own, inFolder: "", loaded: keepOrReplace(before, file, list) };
    let inFolder: string | undefined;
    try {
      inFolder = await this.#identityOfFolder(folder, reading);
      const isSame = before?.parsed === own.parsed && inFolder !== undefined && inFolder === before.inFolder;
      if (isSame) return { ...before, ...own };
      if (inFolder !== "") await this.#requireSafe(folder, true);
      const plugins = inFolder === ""
        ? []
        : await folderPlugins(folder, (inside) => this.#requireSafe(inside));
      return { ...own, inFolder, loaded: keepOrReplace(before, file, withFolder(list, plugins, file)) };
    } catch (cause) {
      return { ...own, inFolder, loaded: { file, error: asCniError(cause, { file }) } };
    }
  }

  /** Refuses paths that other users can write to: they must not decide which programs run as root. */
  async #requireSafe(path: string, listed = false): Promise<void> {
    if (this.#allowUnsafeFiles) return;
    const refusal = listed ? "the configuration directory is not used" : "the configuration is not used";
    await requireSafeFile({ path, listed, refusal, kind: "config" });
  }

  /** Returns an empty text if the folder does not exist or holds no plugins, and undefined if its identity is unknown. */
  async #identityOfFolder(folder: string, { names, folders }: Reading): Promise<string | undefined> {
    if (!names.has(folder.slice(folder.lastIndexOf("/") + 1))) return "";
    const listing = folders.get(folder) ?? this.#folders.get(folder) ?? new DirListing(folder);
    folders.set(folder, listing);
    // The reading of its files reports what is wrong.
    const inside = await listing.names().catch(() => undefined);
    if (inside === undefined) return undefined;
    const files = inside.filter((name) => name.endsWith(".conf"));
    const identities = await inParallel(
      files,
      MAX_CONCURRENT_READS,
      (name) => identityOfFile(`${folder}/${name}`),
    );
    if (identities.includes(undefined)) return undefined;
    return files.map((name, index) => `${name} ${identities[index]}`).join("\n");
  }
}

function unusable(own: string | undefined): Known {
  return { own, inFolder: undefined, parsed: undefined, loaded: undefined };
}

/** Returns the object of before if the file still has the same content. */
function keepOrReplace(before: Known | undefined, file: string, list: NetworkConfigList): LoadedFile {
  return before?.loaded?.list?.text === list.text ? before.loaded : { file, list };
}

/** Returns undefined if the identity is unknown, or could stay the same after a change. */
async function identityOfFile(file: string): Promise<string | undefined> {
  const now = Date.now();
  const stat = await statOf(file).catch(() => undefined);
  return stat?.isFile && isSettled(stat, now) ? identityOf(stat) : undefined;
}
