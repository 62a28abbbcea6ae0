import { statOf } from "../host/file.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import { ConfigDirectory } from "./directory.ts";
import { configNames, type LoadedFile } from "./load.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { FindPluginOptions } from "../plugin/find.ts";
import { type NetworkConfigList, parseConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { byNameForPod } from "./by_name.ts";
import { Catalog } from "./catalog.ts";
import type { CatalogContent, CatalogFile } from "./entry.ts";
import { CatalogMemory, type GoodVersion } from "./memory.ts";
import { chooseDefault, type DefaultChoice, type DefaultPin } from "./default_network.ts";
import { EMBEDDED_FILE } from "./embedded_network.ts";
import { delay } from "../async/wait.ts";

/** Where the networks come from. */
export interface CatalogOptions extends FindPluginOptions {
  /** Nothing is read when it is undefined. */
  readonly confDir: string | undefined;
  /** Whether it is an error that the directory does not exist: somebody named it. @default {false} */
  readonly confDirRequired?: boolean | undefined;
  /** The only network that may stand in when a request names none. @default {the first usable one} */
  readonly defaultNetwork?: string | undefined;
  /** Gives the network of a machine whose directory holds no configuration file at all. */
  readonly embedded?: (() => Promise<NetworkConfigList>) | undefined;
  /** Where what has to outlive the process is kept. @default {nowhere} */
  readonly stateDir?: string | undefined;
  /** Whether what is new is kept there; who only looks leaves no trace. @default {true} */
  readonly remembers?: boolean | undefined;
  /** Whether a container is attached to the network: then it stays the default. @default {none is} */
  readonly isAttached?: ((network: string) => Promise<boolean>) | undefined;
  readonly log?: Logger | undefined;
  /** @default {() => new Date()} */
  readonly now?: (() => Date) | undefined;
}

/** What an attempt to read the directory came to. */
export interface ReadCatalog {
  /** What is in force now. */
  readonly catalog: Catalog;
  /** Why the directory could not be read. */
  readonly failure: CniError | undefined;
}

/** A file that is written anew may be gone for a moment. */
const SECOND_LOOK_MS = 200;

/**
 * Reads a configuration directory again and again, and knows what has to be known of earlier readings: the last good
 * version of each file, and the default network. One call at a time.
 *
 * Permissions: `--allow-read` for the directory; where they are granted, `--allow-read` and `--allow-write` for the
 * state directory.
 */
export class CatalogReader {
  readonly #options: CatalogOptions;
  readonly #directory: ConfigDirectory | undefined;
  readonly #memory: CatalogMemory;
  /** The networks of files that are bad now. */
  #revived: ReadonlyMap<string, NetworkConfigList> = new Map();
  #former: Catalog | undefined;

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

  /** What it gave last. */
  get former(): Catalog | undefined {
    return this.#former;
  }

  /** The paths that have a say in what it reads. */
  get paths(): readonly string[] {
    return this.#directory === undefined ? [] : [this.#directory.dir, ...this.#directory.beyond];
  }

  /**
   * Reads the directory: gives the same object as before where nothing has changed.
   *
   * @throws {CniError} if it cannot be read
   */
  async read(signal?: AbortSignal): Promise<Catalog> {
    const loaded = await this.#load(signal);
    const now = this.#now();
    let content: CatalogContent | undefined;
    await this.#memory.keep(async (remembered) => {
      const { files, good } = this.#settle(loaded, remembered.files, now);
      const hadFiles = remembered.hadFiles || good.size > 0;
      const { choice, pin } = await this.#choose(files, { pin: remembered.pin, hadFiles }, now);
      content = { confDir: this.#options.confDir, files, choice };
      const isSame = pin === remembered.pin && good === remembered.files && hadFiles === remembered.hadFiles;
      return isSame ? remembered : { files: good, pin, hadFiles };
    }, signal);
    return this.#install(content as CatalogContent);
  }

  /** Reads the directory or, where that fails, gives the networks that it held when it could be read last. */
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
    if (this.#former !== undefined) return this.#install({ ...this.#former.content, problem });
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
    // A directory with a broken file is somebody's configuration: it must not turn into another network.
    if (loaded.length > 0 || embedded === undefined) return loaded;
    return [{ file: EMBEDDED_FILE, list: await embedded() }];
  }

  /** Only what is gone at a second look, too, has been removed. */
  async #readTwice(
    directory: ConfigDirectory,
    signal: AbortSignal | undefined,
  ): Promise<readonly LoadedFile[]> {
    const { files } = await this.#memory.recall();
    const expected = configNames([...files.keys()]).filter((name) => !name.includes("/"));
    const loaded = await directory.read(expected);
    const there = new Set(loaded.map(({ file }) => nameOf(file)));
    if (expected.every((name) => there.has(name))) return loaded;
    await delay(SECOND_LOOK_MS, signal);
    return await directory.read(expected);
  }

  /** What is in force of each file, and what to remember of them: the same map where that is nothing new. */
  #settle(
    loaded: readonly LoadedFile[],
    known: ReadonlyMap<string, GoodVersion>,
    now: string,
  ): { readonly files: readonly CatalogFile[]; readonly good: ReadonlyMap<string, GoodVersion> } {
    const good = new Map<string, GoodVersion>();
    const revived = new Map<string, NetworkConfigList>();
    const files = loaded.map(({ file, list, error }): CatalogFile => {
      if (file === EMBEDDED_FILE) return { file, list, error, since: undefined, badSince: undefined };
      const name = nameOf(file);
      const version = goodVersion(known.get(name), list, now);
      if (version !== undefined) good.set(name, version);
      if (list !== undefined || version === undefined) return { file, list, error, ...timesOf(version) };
      const before = this.#revived.get(name);
      const standIn = before?.text === version.text ? before : parseConfigList(version.text);
      revived.set(name, standIn);
      return { file, list: standIn, error, ...timesOf(version) };
    });
    this.#revived = revived;
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
        // Where that cannot be told, nothing is changed.
        return await this.#options.isAttached?.(network).catch(() => true) ?? false;
      },
      isFile: (file) => file !== EMBEDDED_FILE,
      now,
    });
  }

  #install(content: CatalogContent): Catalog {
    if (this.#former === undefined || !isSameContent(this.#former.content, content)) {
      this.#former = new Catalog(content);
    }
    return this.#former;
  }

  #now(): string {
    return (this.#options.now?.() ?? new Date()).toISOString();
  }
}

/** @throws {CniError} kind `not-found` if there is nothing at that path */
async function requireDirectory(confDir: string): Promise<void> {
  if (await statOf(confDir) !== undefined) return;
  throw new CniError("not-found", "the configuration directory does not exist", {
    file: confDir,
    code: ERROR_CODES.ioFailure,
    hint: "make the directory, or name another one with --conf-dir or NETCONFPATH",
  });
}

function nameOf(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1);
}

/** What to remember of a file: the same object where that is nothing new. */
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

/** Whether the same files say the same. */
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
