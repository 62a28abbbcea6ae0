import type { NetworkConfigList } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import { byNameForPod } from "./by_name.ts";
import type { DefaultChoice } from "./default_network.ts";
import { EMBEDDED_FILE } from "./embedded_network.ts";

/** Every status that a file of the configuration directory can have. */
export const FILE_STATUSES = ["used", "shadowed", "rejected", "stale"] as const;

/** One of {@linkcode FILE_STATUSES}. */
export type FileStatus = typeof FILE_STATUSES[number];

/** Why a network can be the default: it was named, its file comes first, or containers are attached to it. */
export const DEFAULT_REASONS = ["name", "first", "pinned"] as const;

/** One of {@linkcode DEFAULT_REASONS}. */
export type DefaultReason = typeof DEFAULT_REASONS[number];

/** The status of one file of the configuration directory; `networks --json` prints these. */
export interface CatalogEntry {
  /** Its path; `(embedded)` for the network that needs no file. */
  readonly file: string;
  /** The name of the network, if it can be read. */
  readonly name: string | undefined;
  /** `stale` means that the file is unusable now, and its last usable content stays in use. */
  readonly status: FileStatus;
  /** Whether requests that name no network get this one. */
  readonly default: boolean;
  /** Why it is the default: it was named, its file comes first, or containers are attached to it. */
  readonly defaultBy: DefaultReason | undefined;
  /** The CNI version that podwire uses with its plugins. */
  readonly cniVersion: string | undefined;
  /** The types of its plugins, in order. */
  readonly plugins: readonly string[];
  /** Why it is not used, is not the default although it comes first, or stays the default although it does not. */
  readonly reason: string | undefined;
  /** The line of the fault, counted from 1. */
  readonly line: number | undefined;
  /** The column of the fault, counted from 1. */
  readonly column: number | undefined;
  /** When the content that is in use was first read, ISO 8601. */
  readonly since: string | undefined;
  /** When the file was first found unusable, ISO 8601. */
  readonly badSince: string | undefined;
}

/** A file of the configuration directory. */
export interface CatalogFile {
  readonly file: string;
  /** Its network; with an `error`, the network of its last usable content. */
  readonly list: NetworkConfigList | undefined;
  /** What is wrong with the file now. */
  readonly error: CniError | undefined;
  /** When `list` was first read, ISO 8601. */
  readonly since: string | undefined;
  /** When `error` was first found, ISO 8601. */
  readonly badSince: string | undefined;
}

/** The data of a catalog. */
export interface CatalogContent {
  /** Undefined if no directory was read. */
  readonly confDir: string | undefined;
  /** In the order of reading. */
  readonly files: readonly CatalogFile[];
  readonly choice: DefaultChoice;
  /** Why the directory cannot be read; `files` are then those of the last successful reading. */
  readonly problem?: CniError;
}

/** Describes each file of a catalog, in the order of reading. */
export function entriesOf(
  content: CatalogContent,
  used: ReadonlyMap<string, CatalogFile> = byNameForPod(content.files),
): readonly CatalogEntry[] {
  return content.files.map((file) => {
    const winner = file.list && used.get(file.list.name);
    const { list, error } = file;
    return list === undefined || (error !== undefined && winner !== file)
      ? rejectedEntry(file)
      : networkEntry(file, list, winner, content);
  });
}

/** Returns the message of an error with its details, without the place. */
export function describeError({ msg, context: { details } }: CniError): string {
  return details === undefined ? msg : `${msg}; ${details}`;
}

function rejectedEntry(file: CatalogFile): CatalogEntry {
  const { error, badSince } = file;
  return {
    file: faultyFile(file),
    name: undefined,
    cniVersion: undefined,
    plugins: [],
    default: false,
    defaultBy: undefined,
    status: "rejected",
    reason: error && describeError(error),
    ...placeOf(file),
    since: undefined,
    badSince,
  };
}

function networkEntry(
  file: CatalogFile,
  list: NetworkConfigList,
  winner: CatalogFile | undefined,
  content: CatalogContent,
): CatalogEntry {
  const { since, badSince } = file;
  const { network, by } = content.choice;
  const isUsed = winner === file;
  const isDefault = isUsed && list.name === network;
  return {
    file: faultyFile(file),
    name: list.name,
    status: !isUsed ? "shadowed" : isStale(file, content) ? "stale" : "used",
    default: isDefault,
    defaultBy: isDefault && (by === "name" || by === "first" || by === "pinned") ? by : undefined,
    cniVersion: list.cniVersion,
    plugins: list.plugins.map(({ type }) => type),
    reason: isUsed ? remarkOn(file, content) : `${winner?.file} has the same name and comes first`,
    ...placeOf(file),
    since,
    badSince,
  };
}

function placeOf({ error }: CatalogFile): Pick<CatalogEntry, "line" | "column"> {
  return { line: error?.context.line, column: error?.context.column };
}

function isStale({ error, file }: CatalogFile, { problem }: CatalogContent): boolean {
  return error !== undefined || (problem !== undefined && file !== EMBEDDED_FILE);
}

/** Returns what users should know about a file that is in use. */
function remarkOn(loaded: CatalogFile, { problem, choice }: CatalogContent): string | undefined {
  const { file, list, error = problem, since } = loaded;
  const { by, pin, first, network } = choice;
  const remarks: string[] = [];
  if (error !== undefined) {
    remarks.push(
      describeError(error),
      `in use is what it said${since === undefined ? " before" : ` since ${since}`}`,
    );
  }
  if (by === "pinned" && list?.name === network) {
    remarks.push(
      `stays the default since containers are attached to it, although ${first} comes first now`,
    );
  }
  if (file === first && pin !== undefined) {
    const gone = by === "gone" ? " and whose file is gone" : "";
    remarks.push(
      `is not the default since containers are attached to "${pin.network}", which was the default before${gone}`,
    );
  }
  return remarks.length === 0 ? undefined : remarks.join("; ");
}

/** Returns the file that has the fault: for a network with a plugin folder, it may be a file of that folder. */
function faultyFile({ file, error }: CatalogFile): string {
  return error?.context.file ?? file;
}
