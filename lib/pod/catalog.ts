import { chooseByName, loadDirectory, type LoadedFile } from "../network/load.ts";
import type { NetworkConfigList } from "../spec/config.ts";
import { CniError, ERROR_CODES } from "../spec/error.ts";
import { EMBEDDED_FILE } from "./embedded.ts";

/** What became of one file of the configuration directory; `networks --json` prints these. */
export interface CatalogEntry {
  /** Its path; of a network that needs no file, `(embedded)`. */
  readonly file: string;
  /** The name of the network, if it can be read. */
  readonly name: string | undefined;
  /** What became of it. */
  readonly status: "used" | "shadowed" | "rejected" | "stale";
  /** Whether requests that name no network get this one. */
  readonly default: boolean;
  /** The version that is spoken with its plugins. */
  readonly cniVersion: string | undefined;
  /** The types of its plugins, in order. */
  readonly plugins: readonly string[];
  /** Why it is not used. */
  readonly reason: string | undefined;
  /** Where the reason is, counted from 1. */
  readonly line: number | undefined;
  /** Where in the line, counted from 1. */
  readonly column: number | undefined;
}

/** Where the networks come from. */
export interface CatalogOptions {
  /** Nothing is read when it is undefined. */
  readonly confDir: string | undefined;
  /** The only network that may stand in when a request names none. @default {the first usable one} */
  readonly defaultNetwork?: string;
  /** Gives the network of a machine whose directory holds no configuration file at all. */
  readonly embedded?: () => Promise<NetworkConfigList>;
}

/**
 * The networks of a configuration directory as they were when it was read, and what became of each
 * file. Of two files with the same network name the first in byte order is used.
 */
export class Catalog {
  readonly #options: CatalogOptions;
  readonly #files: readonly LoadedFile[];
  readonly #used: ReadonlyMap<string, LoadedFile>;

  private constructor(options: CatalogOptions, files: readonly LoadedFile[]) {
    this.#options = options;
    this.#files = files;
    const used = new Map<string, LoadedFile>();
    for (const loaded of files) {
      if (loaded.list !== undefined && !used.has(loaded.list.name)) used.set(loaded.list.name, loaded);
    }
    this.#used = used;
  }

  /**
   * Reads the directory.
   *
   * Permissions: `--allow-read` for the directory.
   *
   * @throws {CniError} if the directory cannot be read; bad files are entries, not errors
   */
  static async load(options: CatalogOptions): Promise<Catalog> {
    const { confDir, embedded } = options;
    const files = confDir === undefined ? [] : await loadDirectory(confDir);
    // A directory with a broken file is somebody's configuration: it must not turn into another network.
    if (files.length > 0 || embedded === undefined) return new Catalog(options, files);
    return new Catalog(options, [{ file: EMBEDDED_FILE, list: await embedded() }]);
  }

  /** One entry a file, in the order of reading. */
  get entries(): readonly CatalogEntry[] {
    const defaultName = this.#defaultName();
    return this.#files.map((loaded) => this.#entry(loaded, defaultName));
  }

  /** Every usable network once, as {@linkcode Catalog.getByName} chooses it. */
  get lists(): readonly NetworkConfigList[] {
    return [...this.#used.keys()].map((name) => this.getByName(name));
  }

  /**
   * The network of that name.
   *
   * @throws {CniError} kind `not-found`, with the files that were rejected
   */
  get(name: string): NetworkConfigList {
    return this.#used.get(name)?.list ?? chooseByName(this.#files, name, this.#place());
  }

  /**
   * The network of that name as libcni and cnitool choose it: lists before single configurations.
   *
   * @throws {CniError} kind `not-found`, with the files that were rejected
   */
  getByName(name: string): NetworkConfigList {
    return chooseByName(this.#files, name, this.#place());
  }

  /**
   * The network of a request that names none.
   *
   * @throws {CniError} kind `not-ready` when there is none: another network never stands in
   */
  default(): NetworkConfigList {
    const name = this.#defaultName();
    const list = name === undefined ? undefined : this.#used.get(name)?.list;
    if (list !== undefined) return list;
    const rejected = this.#files.flatMap(({ error }) => error === undefined ? [] : [error.message]);
    const wanted = this.#options.defaultNetwork;
    const msg = wanted === undefined
      ? `no usable network configuration in ${this.#place()}`
      : `the default network "${wanted}" is not in ${this.#place()}`;
    throw new CniError("not-ready", msg, {
      code: ERROR_CODES.invalidNetworkConfig,
      ...(rejected.length === 0 ? {} : { details: `rejected: ${rejected.join("; ")}` }),
      hint: "`podwire networks` lists what is there",
    });
  }

  #place(): string {
    return this.#options.confDir ?? EMBEDDED_FILE;
  }

  #defaultName(): string | undefined {
    return this.#options.defaultNetwork ?? [...this.#used.keys()][0];
  }

  #entry(loaded: LoadedFile, defaultName: string | undefined): CatalogEntry {
    const { file, list, error } = loaded;
    if (list === undefined) {
      const { line, column, details } = error.context;
      const reason = details === undefined ? error.msg : `${error.msg}; ${details}`;
      const none = { name: undefined, cniVersion: undefined, plugins: [], default: false };
      return { file: error.context.file ?? file, ...none, status: "rejected", reason, line, column };
    }
    const winner = this.#used.get(list.name);
    const used = winner === loaded;
    return {
      file,
      name: list.name,
      status: used ? "used" : "shadowed",
      default: used && list.name === defaultName,
      cniVersion: list.cniVersion,
      plugins: list.plugins.map(({ type }) => type),
      reason: used ? undefined : `${winner?.file} has the same name and comes first`,
      line: undefined,
      column: undefined,
    };
  }
}
