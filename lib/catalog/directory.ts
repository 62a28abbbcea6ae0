import { compareBytes, realPath, statOf } from "../host/file.ts";
import { DirListing, identityOf, isSettled } from "../host/listing.ts";
import { asCniError, withCniErrors } from "../errors/to_cni_error.ts";
import type { FindPluginOptions } from "../plugin/find.ts";
import { requireSafeFile } from "../plugin/safety.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import {
  configNames,
  folderOf,
  folderPlugins,
  type LoadedFile,
  parseFile,
  readConfigFile,
  withFolder,
} from "./load.ts";
import { inParallel } from "../async/parallel.ts";

/** What the text of a file says by itself. */
interface Parsed {
  readonly text: string;
  readonly list: NetworkConfigList;
  /** Whether other directories than that of the file have a say in what the name leads to. */
  readonly isLink: boolean;
}

/** What is known of a file. Identities are undefined where a change after the reading could go unseen. */
interface Known {
  readonly own: string | undefined;
  readonly inFolder: string | undefined;
  /** Undefined if it says nothing that can be used. */
  readonly parsed: Parsed | undefined;
  /** What it comes to with its folder; undefined for what is no configuration file. */
  readonly loaded: LoadedFile | undefined;
}

/** One reading of the directory. */
interface Reading {
  readonly names: ReadonlySet<string>;
  readonly folders: Map<string, DirListing>;
}

/** As many as Deno has threads for files. */
const FILES_AT_ONCE = 32;

/**
 * A configuration directory that is read again and again: what has not changed is neither read nor parsed anew, and
 * comes out as the same object. One reading at a time.
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

  /** What else has a say in what the last reading gave: the plugin folders and the files that are links. */
  get beyond(): readonly string[] {
    const links = [...this.#known].flatMap(([name, { parsed }]) =>
      parsed?.isLink ? [`${this.dir}/${name}`] : []
    );
    return [...this.#folders.keys(), ...links];
  }

  /**
   * What `loadDirectory` gives. A directory that changes while it is listed can seem to lack a file that is there all
   * the time, so those that are `expected` are looked for by name.
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
    const known = await inParallel(wanted, FILES_AT_ONCE, (name) => this.#look(name, reading));
    this.#folders = reading.folders;
    this.#known = new Map(wanted.map((name, index) => [name, known[index] as Known]));
    return known.flatMap(({ loaded }) => loaded ?? []);
  }

  async #look(name: string, reading: Reading): Promise<Known> {
    const file = `${this.dir}/${name}`;
    const before = this.#known.get(name);
    const own = await identityOfFile(file);
    const isSame = own !== undefined && own === before?.own;
    try {
      const parsed = isSame ? before?.parsed : await this.#parse(name, before?.parsed);
      // What could not be used is no better now.
      if (parsed === undefined) return isSame && before ? before : nothing(own);
      return await this.#complete(file, { own, parsed }, before, reading);
    } catch (cause) {
      return { ...nothing(own), loaded: { file, error: asCniError(cause, { file }) } };
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

  /** Adds the plugins of the folder. */
  async #complete(
    file: string,
    own: Pick<Known, "own"> & { readonly parsed: Parsed },
    before: Known | undefined,
    reading: Reading,
  ): Promise<Known> {
    const { list } = own.parsed;
    const folder = folderOf(list, file);
    if (folder === undefined) return { ...own, inFolder: "", loaded: sameOr(before, file, list) };
    let inFolder: string | undefined;
    try {
      inFolder = await this.#identityOfFolder(folder, reading);
      const isSame = before?.parsed === own.parsed && inFolder !== undefined && inFolder === before.inFolder;
      if (isSame) return { ...before, ...own };
      if (inFolder !== "") await this.#requireSafe(folder, true);
      const plugins = inFolder === ""
        ? []
        : await folderPlugins(folder, (inside) => this.#requireSafe(inside));
      return { ...own, inFolder, loaded: sameOr(before, file, withFolder(list, plugins, file)) };
    } catch (cause) {
      return { ...own, inFolder, loaded: { file, error: asCniError(cause, { file }) } };
    }
  }

  /** What others could have written must not decide which programs run as root. */
  async #requireSafe(path: string, listed = false): Promise<void> {
    if (this.#allowUnsafeFiles) return;
    const refusal = listed ? "the configuration directory is not used" : "the configuration is not used";
    await requireSafeFile({ path, listed, refusal, kind: "config" });
  }

  /** Empty if it holds nothing. */
  async #identityOfFolder(folder: string, { names, folders }: Reading): Promise<string | undefined> {
    if (!names.has(folder.slice(folder.lastIndexOf("/") + 1))) return "";
    const listing = folders.get(folder) ?? this.#folders.get(folder) ?? new DirListing(folder);
    folders.set(folder, listing);
    // What is wrong with it is told by who reads it.
    const inside = await listing.names().catch(() => undefined);
    if (inside === undefined) return undefined;
    const files = inside.filter((name) => name.endsWith(".conf"));
    const identities = await inParallel(files, FILES_AT_ONCE, (name) => identityOfFile(`${folder}/${name}`));
    if (identities.includes(undefined)) return undefined;
    return files.map((name, index) => `${name} ${identities[index]}`).join("\n");
  }
}

function nothing(own: string | undefined): Known {
  return { own, inFolder: undefined, parsed: undefined, loaded: undefined };
}

/** What does not say anything else stays the same object. */
function sameOr(before: Known | undefined, file: string, list: NetworkConfigList): LoadedFile {
  return before?.loaded?.list?.text === list.text ? before.loaded : { file, list };
}

/** Undefined if that cannot be told, or a change could leave it as it is. */
async function identityOfFile(file: string): Promise<string | undefined> {
  const now = Date.now();
  const stat = await statOf(file).catch(() => undefined);
  return stat?.isFile && isSettled(stat, now) ? identityOf(stat) : undefined;
}
