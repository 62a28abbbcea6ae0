import { breathe } from "../async/breathe.ts";
import { isObject, parseJson } from "../cni/json.ts";
import { isContainerId } from "../cni/name.ts";
import {
  createExclusive,
  inEnsuredDir,
  listDir,
  listIfDir,
  readTextIfThere,
  readTextNow,
  removeIfThere,
  removeUnfinished,
  statOwn,
  UnreadableFileError,
  writeFileSynced,
  type WriteOptions,
} from "../host/file.ts";
import type { BadRecord } from "../state/checksummed.ts";
import type { SandboxRecord } from "./record.ts";

/** Whether a write has to survive a loss of power. */
export type Durability = Pick<WriteOptions, "durable">;

/** The sandboxes that have a name, according to its file. */
export interface NameFile {
  /** Their IDs, in the order of reservation. */
  readonly ids: readonly string[];
  /** Whether the file has only valid IDs. Otherwise it is damaged. */
  readonly isWhole: boolean;
  /** Why the file must not be changed: a newer version wrote it, or it is not a regular file. */
  readonly keptBecause?: "newer" | "not a file";
}

/**
 * The names of sandboxes: `<state-dir>/names/<namespace>/<name>` has one line for the ID of each sandbox with that name,
 * usually one. It is an index: the records decide, and correct it after a loss of power. A caller that changes a file holds the lock of the names.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory.
 */
export class NameIndex {
  readonly #dir: string;
  readonly #onBad: (bad: BadRecord) => void;

  constructor(stateDir: string, onBad: (bad: BadRecord) => void = () => {}) {
    this.#dir = `${stateDir}/names`;
    this.#onBad = onBad;
  }

  /** Returns the sandboxes that have the name; undefined if there is no file. */
  async read(namespace: string, name: string): Promise<NameFile | undefined> {
    const file = this.path(namespace, name);
    try {
      const text = readTextNow(file) ?? await readTextIfThere(file);
      return text === undefined ? undefined : parseNameFile(text);
    } catch (error) {
      if (!(error instanceof UnreadableFileError)) throw error;
      this.#onBad({ file, reason: error.why });
      return { ids: [], isWhole: false, keptBecause: "not a file" };
    }
  }

  /** Creates the file if there is none. Returns whether it did. */
  async create(namespace: string, name: string, id: string, options?: Durability): Promise<boolean> {
    const create = () => createExclusive(this.path(namespace, name), id, { durable: false, ...options });
    return await inEnsuredDir(`${this.#dir}/${namespace}`, 0o700, create);
  }

  /** Assigns the name to these sandboxes; removes the file if there are none. */
  async write(
    namespace: string,
    name: string,
    ids: readonly string[],
    options?: Durability,
  ): Promise<void> {
    const path = this.path(namespace, name);
    if (ids.length === 0) return void await removeIfThere(path);
    const write = () => writeFileSynced(path, ids.join("\n"), { durable: false, ...options });
    await inEnsuredDir(`${this.#dir}/${namespace}`, 0o700, write);
  }

  /** Returns all names that have a file, with their namespaces. */
  async all(): Promise<readonly { readonly namespace: string; readonly name: string }[]> {
    const found: { readonly namespace: string; readonly name: string }[] = [];
    for (const namespace of await listDir(this.#dir)) {
      for (const name of await this.#namesIn(namespace)) found.push({ namespace, name });
    }
    return found;
  }

  /** Removes unfinished files of killed processes. */
  async removeUnfinished(): Promise<void> {
    for (const namespace of await listDir(this.#dir)) {
      const dir = `${this.#dir}/${namespace}`;
      if ((await statOwn(dir))?.isDirectory) await removeUnfinished(dir);
    }
  }

  /** Returns no names if the path is not a directory: podwire did not create it. */
  async #namesIn(namespace: string): Promise<readonly string[]> {
    const file = `${this.#dir}/${namespace}`;
    const names = await listIfDir(file);
    if (names === undefined) this.#onBad({ file, reason: "it is not a directory" });
    return names ?? [];
  }

  /** Returns the path of the file of a name. */
  path(namespace: string, name: string): string {
    return `${this.#dir}/${namespace}/${name}`;
  }
}

function parseNameFile(text: string): NameFile {
  const lines = text.trim() === "" ? [] : text.trim().split("\n").map((line) => line.trim());
  if (lines.every(isContainerId)) return { ids: lines, isWhole: lines.length > 0 };
  const ids = lines.filter(isContainerId);
  return hasKind(text) ? { ids, isWhole: false, keptBecause: "newer" } : { ids, isWhole: false };
}

/** A newer version that does not write a list of IDs writes a `kind`. */
function hasKind(text: string): boolean {
  try {
    const json = parseJson(text);
    return isObject(json) && typeof json.kind === "string";
  } catch {
    return false;
  }
}

/** Whether the record alone proves that the name is reserved. For a sandbox that is being created, the index decides; sandboxes of engines and pools have no reserved name. */
export function reservesName({ phase, owner, pool }: SandboxRecord): boolean {
  return phase !== "creating" && owner === undefined && pool === undefined;
}

/** The records that {@linkcode repairNames} needs. */
interface NameRecords {
  readonly records: readonly SandboxRecord[];
  /** The names of these are unknown. */
  readonly damaged: readonly { readonly id: string }[];
}

/** Corrects the index by the records. The caller holds the lock of the names. */
export async function repairNames(index: NameIndex, { records, damaged }: NameRecords): Promise<void> {
  const keyOf = ({ namespace, name }: Pick<SandboxRecord, "namespace" | "name">) => `${namespace}/${name}`;
  const byName = Map.groupBy(records, keyOf);
  const names = [...records.filter(reservesName), ...await index.all()];
  // A warm sandbox may be about to get a name.
  const unknown = new Set(
    [...damaged, ...records.filter(({ pool }) => pool !== undefined)].map(({ id }) => id),
  );
  for (const { namespace, name } of new Map(names.map((each) => [keyOf(each), each])).values()) {
    await breathe();
    const file = await index.read(namespace, name);
    if (file?.keptBecause !== undefined) continue;
    const own = byName.get(keyOf({ namespace, name })) ?? [];
    const kept = (file?.ids ?? []).filter((id) => unknown.has(id) || own.some((record) => record.id === id));
    const ids = new Set([...kept, ...own.filter(reservesName).map(({ id }) => id)]);
    const isRight = file?.isWhole === true && file.ids.length === ids.size &&
      file.ids.every((id) => ids.has(id));
    if (!isRight) await index.write(namespace, name, [...ids]);
  }
}
