import { chooseByName } from "./load.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { DefaultChoice } from "./default_network.ts";
import { EMBEDDED_FILE } from "./embedded_network.ts";

/** What can become of a file of the configuration directory. */
export const FILE_STATUSES = ["used", "shadowed", "rejected", "stale"] as const;

/** One of {@linkcode FILE_STATUSES}. */
export type FileStatus = typeof FILE_STATUSES[number];

/** Why a network is the default: it was named, its file comes first, or containers are attached to it. */
export const DEFAULT_REASONS = ["name", "first", "pinned"] as const;

/** One of {@linkcode DEFAULT_REASONS}. */
export type DefaultReason = typeof DEFAULT_REASONS[number];

/** What became of one file of the configuration directory; `networks --json` prints these. */
export interface CatalogEntry {
  /** Its path; of a network that needs no file, `(embedded)`. */
  readonly file: string;
  /** The name of the network, if it can be read. */
  readonly name: string | undefined;
  /** What became of it; `stale` is a file that cannot be used, but what it said before is. */
  readonly status: FileStatus;
  /** Whether requests that name no network get this one. */
  readonly default: boolean;
  /** Why it is the default: it was named, its file comes first, or containers are attached to it. */
  readonly defaultBy: DefaultReason | undefined;
  /** The version that is spoken with its plugins. */
  readonly cniVersion: string | undefined;
  /** The types of its plugins, in order. */
  readonly plugins: readonly string[];
  /** Why it is not used, is not the default although it comes first, or stays the default although it does not. */
  readonly reason: string | undefined;
  /** Where the reason is, counted from 1. */
  readonly line: number | undefined;
  /** Where in the line, counted from 1. */
  readonly column: number | undefined;
  /** When what is in use of it was first read, ISO 8601. */
  readonly since: string | undefined;
  /** When it was first found bad, ISO 8601. */
  readonly badSince: string | undefined;
}

/** A file of the configuration directory. */
export interface CatalogFile {
  readonly file: string;
  /** What it says or, with an `error`, said when it was good. */
  readonly list: NetworkConfigList | undefined;
  /** What is wrong with it now. */
  readonly error: CniError | undefined;
  /** When `list` was first read, ISO 8601. */
  readonly since: string | undefined;
  /** When `error` was first found, ISO 8601. */
  readonly badSince: string | undefined;
}

/** What a {@linkcode Catalog} is made of. */
export interface CatalogContent {
  /** Undefined if no directory was read. */
  readonly confDir: string | undefined;
  /** In the order of reading. */
  readonly files: readonly CatalogFile[];
  readonly choice: DefaultChoice;
  /** Why the directory cannot be read; `files` are what it held when it could. */
  readonly problem?: CniError;
}

/** The usable networks by name: of files with the same one, the first. */
export function usableFiles(files: readonly CatalogFile[]): ReadonlyMap<string, CatalogFile> {
  const usable = new Map<string, CatalogFile>();
  for (const file of files) {
    if (file.list !== undefined && !usable.has(file.list.name)) usable.set(file.list.name, file);
  }
  return usable;
}

/**
 * The networks of a configuration directory as they were when it was read, and what became of each
 * file. Of two files with the same network name the first in byte order is used.
 */
export class Catalog {
  readonly #content: CatalogContent;
  readonly #used: ReadonlyMap<string, CatalogFile>;
  /** As libcni chooses: lists before single configurations. */
  readonly #byName = new Map<string, NetworkConfigList>();

  constructor(content: CatalogContent) {
    this.#content = content;
    this.#used = usableFiles(content.files);
    const isList = ({ file }: CatalogFile) => file.endsWith(".conflist");
    for (const file of [...content.files.filter(isList), ...this.#used.values()]) {
      if (file.list !== undefined && !this.#byName.has(file.list.name)) {
        this.#byName.set(file.list.name, file.list);
      }
    }
  }

  /** What it was made of. */
  get content(): CatalogContent {
    return this.#content;
  }

  /** One entry a file, in the order of reading. */
  get entries(): readonly CatalogEntry[] {
    return this.#content.files.map((file) => this.#entry(file));
  }

  /** Every usable network once, as {@linkcode Catalog.getByName} chooses it. */
  get lists(): readonly NetworkConfigList[] {
    return [...this.#used.keys()].map((name) => this.getByName(name));
  }

  /** Whether there is any network to attach to. */
  get hasNetworks(): boolean {
    return this.#used.size > 0;
  }

  /** The files that cannot be used, not even as they once were. */
  get rejected(): readonly { readonly file: string; readonly error: CniError }[] {
    return this.#content.files.flatMap(({ file, list, error }) =>
      list === undefined && error !== undefined ? [{ file, error }] : []
    );
  }

  /** Why the directory cannot be read, where the networks are those that it held before. */
  get problem(): CniError | undefined {
    return this.#content.problem;
  }

  /** The name of the network that stands in when a request names none; it need not be there. */
  get defaultName(): string | undefined {
    return this.#content.choice.network;
  }

  /** Why that one. */
  get defaultChoice(): DefaultChoice {
    return this.#content.choice;
  }

  /** The file of the network of that name, as {@linkcode Catalog.get} chooses it. */
  fileOf(name: string): string | undefined {
    return this.#used.get(name)?.file;
  }

  /**
   * The network of that name.
   *
   * @throws {CniError} kind `not-found`, with the files that were rejected
   */
  get(name: string): NetworkConfigList {
    return this.#used.get(name)?.list ?? this.getByName(name);
  }

  /**
   * The network of that name as libcni and cnitool choose it: lists before single configurations.
   *
   * @throws {CniError} kind `not-found`, with the files that were rejected
   */
  getByName(name: string): NetworkConfigList {
    const list = this.#byName.get(name);
    if (list !== undefined) return list;
    const files = this.#content.files.map(({ file, list, error }) =>
      list === undefined ? { file, error: error as CniError } : { file, list }
    );
    return chooseByName(files, name, this.#place());
  }

  /**
   * The network of a request that names none.
   *
   * @throws {CniError} kind `not-ready` when there is none: another network never stands in
   */
  default(): NetworkConfigList {
    const { network, by, pin } = this.#content.choice;
    const list = network === undefined ? undefined : this.#used.get(network)?.list;
    if (list !== undefined) return list;
    const code = ERROR_CODES.invalidNetworkConfig;
    if (by === "gone") {
      throw new CniError(
        "not-ready",
        `the file of the default network "${pin?.network}" is gone from ${this.#place()}`,
        {
          code,
          details: `containers are attached to it, so no other network takes its place`,
          hint: `bring ${pin?.file} back, detach the containers, or name a default network`,
        },
      );
    }
    if (by === "unusable") throw this.#firstUnusable();
    if (by === "emptied") {
      throw new CniError("not-ready", `there is no configuration file any more in ${this.#place()}`, {
        code,
        details: "a network of a file was in use here, so the embedded one does not take its place by itself",
        hint: "bring the file back, or ask for the embedded network by its name",
      });
    }
    const msg = by === "name"
      ? `the default network "${network}" is not in ${this.#place()}`
      : `no usable network configuration in ${this.#place()}`;
    const details = this.#whyNone();
    throw new CniError("not-ready", msg, {
      code,
      ...(details === undefined ? {} : { details }),
      hint: "`podwire networks` lists what is there",
    });
  }

  /** The others are usable, but nobody has said that one of them may take the place of the first. */
  #firstUnusable(): CniError {
    const msg = "the first configuration file cannot be used, so there is no default network";
    const { error, file: first } = this.#content.files[0] ?? {};
    const { file = first, line, column } = error?.context ?? {};
    return new CniError("not-ready", msg, {
      code: ERROR_CODES.invalidNetworkConfig,
      ...(error && { details: wordsFor(error) }),
      ...(file !== undefined && { file }),
      ...(line !== undefined && { line }),
      ...(column !== undefined && { column }),
      hint: "mend or remove the file, or name the network with --default-network",
    });
  }

  #whyNone(): string | undefined {
    if (this.problem !== undefined) return this.problem.message;
    const rejected = this.rejected.map(({ error }) => error.message);
    return rejected.length === 0 ? undefined : `rejected: ${rejected.join("; ")}`;
  }

  #place(): string {
    return this.#content.confDir ?? EMBEDDED_FILE;
  }

  #entry(loaded: CatalogFile): CatalogEntry {
    const { list, error, since, badSince } = loaded;
    const winner = list && this.#used.get(list.name);
    const place = { line: error?.context.line, column: error?.context.column };
    if (list === undefined || (error !== undefined && winner !== loaded)) {
      const none = {
        name: undefined,
        cniVersion: undefined,
        plugins: [],
        default: false,
        defaultBy: undefined,
      };
      const reason = error && wordsFor(error);
      return {
        file: fileOf(loaded),
        ...none,
        status: "rejected",
        reason,
        ...place,
        since: undefined,
        badSince,
      };
    }
    const used = winner === loaded;
    const { network, by } = this.#content.choice;
    const isDefault = used && list.name === network;
    return {
      file: fileOf(loaded),
      name: list.name,
      status: !used ? "shadowed" : this.#isStale(loaded) ? "stale" : "used",
      default: isDefault,
      defaultBy: isDefault && (by === "name" || by === "first" || by === "pinned") ? by : undefined,
      cniVersion: list.cniVersion,
      plugins: list.plugins.map(({ type }) => type),
      reason: used ? this.#remark(loaded) : `${winner?.file} has the same name and comes first`,
      ...place,
      since,
      badSince,
    };
  }

  #isStale({ error, file }: CatalogFile): boolean {
    return error !== undefined || (this.problem !== undefined && file !== EMBEDDED_FILE);
  }

  /** What there is to say about a file that is in use. */
  #remark(loaded: CatalogFile): string | undefined {
    const { list, error = this.problem, since } = loaded;
    const { by, pin, first, network } = this.#content.choice;
    const remarks: string[] = [];
    if (error !== undefined) {
      remarks.push(
        wordsFor(error),
        `in use is what it said${since === undefined ? " before" : ` since ${since}`}`,
      );
    }
    if (by === "pinned" && list?.name === network) {
      remarks.push(
        `stays the default since containers are attached to it, although ${first} comes first now`,
      );
    }
    if (loaded.file === first && pin !== undefined) {
      const gone = by === "gone" ? " and whose file is gone" : "";
      remarks.push(
        `is not the default since containers are attached to "${pin.network}", which was it before${gone}`,
      );
    }
    return remarks.length === 0 ? undefined : remarks.join("; ");
  }
}

function wordsFor({ msg, context: { details } }: CniError): string {
  return details === undefined ? msg : `${msg}; ${details}`;
}

/** The file that is at fault: of a network with a folder, that may be one in there. */
function fileOf({ file, error }: CatalogFile): string {
  return error?.context.file ?? file;
}
