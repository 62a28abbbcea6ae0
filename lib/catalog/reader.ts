import { delay } from "../async/wait.ts";
import { type NetworkConfigList, parseConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { statOf } from "../host/file.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import type { PathOfInterest } from "../host/watch.ts";
import type { FindPluginOptions } from "../plugin/find.ts";
import { byNameForPod } from "./by_name.ts";
import { Catalog } from "./catalog.ts";
import { chooseDefault, type DefaultChoice, type DefaultPin } from "./default_network.ts";
import { isCreated } from "./created.ts";
import { ConfigDirectory } from "./directory.ts";
import { EMBEDDED_FILE } from "./embedded_network.ts";
import type { CatalogContent, CatalogFile } from "./entry.ts";
import { configNames, isConfigName, type LoadedFile } from "./load.ts";
import { CatalogMemory, type GoodVersion } from "./memory.ts";

/** Options of {@linkcode CatalogReader}. */
export interface CatalogOptions extends FindPluginOptions {
  /** The configuration directory; if undefined, nothing is read. */
  readonly confDir: string | undefined;
  /** Whether the directory has to exist, because the user named it. @default {false} */
  readonly confDirRequired?: boolean | undefined;
  /** The default network; no other one replaces it. @default {the first usable one} */
  readonly defaultNetwork?: string | undefined;
  /** Returns the network for a machine whose directory holds no configuration file at all. */
  readonly embedded?: (() => Promise<NetworkConfigList>) | undefined;
  /** The state directory, which keeps what has to outlive the process. @default {nothing is kept} */
  readonly stateDir?: string | undefined;
  /** Whether changes are written there; a command that only reads writes nothing. @default {true} */
  readonly remembers?: boolean | undefined;
  /** Returns whether a container is attached to the network: then it stays the default. @default {no container is attached} */
  readonly isAttached?: ((network: string) => Promise<boolean>) | undefined;
  readonly log?: Logger | undefined;
  /** @default {() => new Date()} */
  readonly now?: (() => Date) | undefined;
}

/** The result of an attempt to read the directory. */
export interface ReadCatalog {
  /** The catalog that is in use now. */
  readonly catalog: Catalog;
  /** Why the directory could not be read. */
  readonly failure: CniError | undefined;
}

/** The wait before a missing file counts as removed: a file that is rewritten may be missing for a moment. */
const SECOND_READ_DELAY_MS = 200;

/**
 * Reads a configuration directory again and again. It remembers the last usable content of each file and the default
 * network. Only one call may run at a time.
 *
 * Permissions: `--allow-read` for the directory; if they are granted, also `--allow-read` and `--allow-write` for the
 * state directory.
 */
export class CatalogReader {
  readonly #options: CatalogOptions;
  readonly #directory: ConfigDirectory | undefined;
  readonly #memory: CatalogMemory;
  /** The last usable lists of files that are unusable now. */
  #fallbacks: ReadonlyMap<string, NetworkConfigList> = new Map();
  #current: Catalog | undefined;

  constructor(options: CatalogOptions) {
    const { confDir, log = silentLogger, stateDir } = options;
    this.#options = options;
    this.#directory = confDir === undefined ? undefined : new ConfigDirectory(confDir, options);
    this.#memory = new CatalogMemory({
      log,
      confDir: confDir ?? EMBEDDED_FILE,
      stateDir: confDir === undefined ? undefined : stateDir,
      writes: options.remembers ?? true,
    });
  }

  /** The catalog of the last reading. */
  get current(): Catalog | undefined {
    return this.#current;
  }

  /** The paths that affect what it reads, and which names in them do. */
  get paths(): readonly PathOfInterest[] {
    const directory = this.#directory;
    if (directory === undefined) return [];
    const further = directory.furtherPaths.map((path) => ({ path, concerns: isConfigName }));
    return [{ path: directory.dir, concerns: (name) => directory.concerns(name) }, ...further];
  }

  /**
   * Reads the directory. Returns the same object as before if nothing has changed.
   *
   * @throws {CniError} if it cannot be read
   */
  async read(signal?: AbortSignal): Promise<Catalog> {
    const loaded = await this.#load(signal);
    const now = this.#now();
    let content: CatalogContent | undefined;
    await this.#memory.update(async (remembered) => {
      const { files, good } = this.#merge(loaded, remembered.files, now);
      const isConfigured = ({ file, list }: CatalogFile) =>
        file !== EMBEDDED_FILE && list !== undefined && !isCreated(list);
      const hadFiles = remembered.hadFiles || files.some(isConfigured);
      const { choice, pin } = await this.#choose(files, { pin: remembered.pin, hadFiles }, now);
      content = { confDir: this.#options.confDir, files, choice };
      const isSame = pin === remembered.pin && good === remembered.files && hadFiles === remembered.hadFiles;
      return isSame ? remembered : { files: good, pin, hadFiles };
    }, signal);
    return this.#install(content as CatalogContent);
  }

  /** Reads the directory. If that fails, returns the networks of the last successful reading. */
  async attempt(signal?: AbortSignal): Promise<ReadCatalog> {
    try {
      return { catalog: await this.read(signal), failure: undefined };
    } catch (error) {
      signal?.throwIfAborted();
      const failure = asCniError(error);
      return { catalog: await this.#fallBack(failure), failure };
    }
  }

  async #fallBack(problem: CniError): Promise<Catalog> {
    const { confDir } = this.#options;
    if (problem.kind === "not-found") {
      const { choice } = await this.#choose([], await this.#memory.recall(), this.#now());
      return this.#install({ confDir, files: [], choice, problem });
    }
    if (this.#current !== undefined) return this.#install({ ...this.#current.content, problem });
    const remembered = await this.#memory.recall();
    const files = [...remembered.files].map(([name, { text, since, badSince }]): CatalogFile => {
      return { file: `${confDir}/${name}`, list: parseConfigList(text), error: undefined, since, badSince };
    });
    const { choice } = await this.#choose(files, remembered, this.#now());
    return this.#install({ confDir, files, choice, problem });
  }

  async #load(signal: AbortSignal | undefined): Promise<readonly LoadedFile[]> {
    const loaded = this.#directory === undefined ? [] : await this.#readTwice(this.#directory, signal);
    const { embedded, confDir, confDirRequired = false } = this.#options;
    if (loaded.length === 0 && confDirRequired && confDir !== undefined) await requireDirectory(confDir);
    // A directory with an unusable file is configured: the embedded network must not replace its networks.
    if (embedded === undefined || !await this.#areCreated(loaded)) return loaded;
    return [{ file: EMBEDDED_FILE, list: await embedded() }, ...loaded];
  }

  /** Whether `network create` made all files: such networks stand beside the embedded one. The last usable content counts. */
  async #areCreated(loaded: readonly LoadedFile[]): Promise<boolean> {
    // Nearly always this decides, and the memory need not be looked at.
    if (loaded.some(({ list }) => list !== undefined && !isCreated(list))) return false;
    const unusable = loaded.filter(({ list }) => list === undefined);
    if (unusable.length === 0) return true;
    const { files } = await this.#memory.recall();
    return unusable.every(({ file }) => {
      const text = files.get(nameOf(file))?.text;
      return text !== undefined && isCreated(parseConfigList(text));
    });
  }

  /** Reads the directory, and reads it again if a file is missing: only a file that is missing twice was removed. */
  async #readTwice(
    directory: ConfigDirectory,
    signal: AbortSignal | undefined,
  ): Promise<readonly LoadedFile[]> {
    const { files } = await this.#memory.recall();
    const expected = configNames([...files.keys()]).filter((name) => !name.includes("/"));
    const loaded = await directory.read(expected);
    const found = new Set(loaded.map(({ file }) => nameOf(file)));
    if (expected.every((name) => found.has(name))) return loaded;
    await delay(SECOND_READ_DELAY_MS, signal);
    return await directory.read(expected);
  }

  /** Returns what is in use of each file, and what to remember: the same map if nothing has changed. */
  #merge(
    loaded: readonly LoadedFile[],
    known: ReadonlyMap<string, GoodVersion>,
    now: string,
  ): { readonly files: readonly CatalogFile[]; readonly good: ReadonlyMap<string, GoodVersion> } {
    const good = new Map<string, GoodVersion>();
    const fallbacks = new Map<string, NetworkConfigList>();
    const files = loaded.map(({ file, list, error }): CatalogFile => {
      if (file === EMBEDDED_FILE) return { file, list, error, since: undefined, badSince: undefined };
      const name = nameOf(file);
      const version = goodVersion(known.get(name), list, now);
      if (version !== undefined) good.set(name, version);
      if (list !== undefined || version === undefined) return { file, list, error, ...timesOf(version) };
      const before = this.#fallbacks.get(name);
      const fallback = before?.text === version.text ? before : parseConfigList(version.text);
      fallbacks.set(name, fallback);
      return { file, list: fallback, error, ...timesOf(version) };
    });
    this.#fallbacks = fallbacks;
    const isSame = good.size === known.size &&
      [...good].every(([name, version]) => known.get(name) === version);
    return { files, good: isSame ? known : good };
  }

  #choose(
    files: readonly CatalogFile[],
    remembered: { readonly pin: DefaultPin | undefined; readonly hadFiles: boolean },
    now: string,
  ) {
    const usable = [...byNameForPod(files)].map(([name, { file }]) => [name, file] as const);
    const [first] = files;
    return chooseDefault({
      ...remembered,
      named: this.#options.defaultNetwork,
      usable: new Map(usable),
      unusable: first !== undefined && first.list === undefined ? first.file : undefined,
      isAttached: async (network) => {
        // If this is unknown, the default network stays.
        return await this.#options.isAttached?.(network).catch(() => true) ?? false;
      },
      isFile: (file) => file !== EMBEDDED_FILE,
      now,
    });
  }

  #install(content: CatalogContent): Catalog {
    if (this.#current === undefined || !isSameContent(this.#current.content, content)) {
      this.#current = new Catalog(content);
    }
    return this.#current;
  }

  #now(): string {
    return (this.#options.now?.() ?? new Date()).toISOString();
  }
}

/** @throws {CniError} kind `not-found` if nothing exists at that path */
async function requireDirectory(confDir: string): Promise<void> {
  if (await statOf(confDir) !== undefined) return;
  throw new CniError("not-found", "the configuration directory does not exist", {
    file: confDir,
    code: ERROR_CODES.ioFailure,
    hint: "create the directory, or name another one with --conf-dir or NETCONFPATH",
  });
}

function nameOf(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1);
}

/** Returns what to remember of a file: the same object if nothing has changed. */
function goodVersion(
  known: GoodVersion | undefined,
  list: NetworkConfigList | undefined,
  now: string,
): GoodVersion | undefined {
  if (list === undefined) return known?.badSince === undefined ? known && { ...known, badSince: now } : known;
  if (known?.text !== list.text) return { text: list.text, since: now };
  return known.badSince === undefined ? known : { text: known.text, since: known.since };
}

function timesOf(version: GoodVersion | undefined): Pick<CatalogFile, "since" | "badSince"> {
  return { since: version?.since, badSince: version?.badSince };
}

function isSameContent(a: CatalogContent, b: CatalogContent): boolean {
  return isSameFiles(a, b) && a.problem?.message === b.problem?.message && isSameChoice(a.choice, b.choice);
}

/** Returns whether two catalogs have the same files with the same content. */
export function isSameFiles({ files: a }: CatalogContent, { files: b }: CatalogContent): boolean {
  return a.length === b.length && a.every((file, index) => isSameFile(file, b[index] as CatalogFile));
}

function isSameChoice(a: DefaultChoice, b: DefaultChoice): boolean {
  return a.network === b.network && a.by === b.by && a.first === b.first && a.pin?.network === b.pin?.network;
}

function isSameFile(a: CatalogFile, b: CatalogFile): boolean {
  return a.file === b.file && (a.list === b.list || a.list?.text === b.list?.text) &&
    a.error?.message === b.error?.message && a.since === b.since && a.badSince === b.badSince;
}
