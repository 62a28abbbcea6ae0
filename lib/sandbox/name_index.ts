import {
  createExclusive,
  inEnsuredDir,
  listDir,
  listIfDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  UnreadableFileError,
  writeFileSynced,
  type WriteOptions,
} from "../host/file.ts";
import type { BadRecord } from "../state/checksummed.ts";
import { isContainerId } from "../cni/name.ts";
import { isObject, parseJson } from "../cni/json.ts";
import type { SandboxRecord } from "./record.ts";

/** Whether what is written has to outlive a loss of power. */
export type Durability = Pick<WriteOptions, "durable">;

/** Who has a name, as its file says. */
export interface NameFile {
  /** The IDs, the first to come first. */
  readonly ids: readonly string[];
  /** Whether the file says nothing else. One that does was damaged. */
  readonly isWhole: boolean;
  /** Why it is left as it is: a newer version wrote it, or it is no file. */
  readonly leftFor?: "newer" | "not a file";
}

/**
 * Who has the names of sandboxes: `<state-dir>/names/<namespace>/<name>` has a line for the ID of each sandbox of that
 * name, most often one. It is an index: the records decide. Who changes a file holds the lock over the names.
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

  /** Who has the name; nothing if there is no file. */
  async read(namespace: string, name: string): Promise<NameFile | undefined> {
    const file = this.path(namespace, name);
    try {
      const text = await readTextIfThere(file);
      return text === undefined ? undefined : parseNameFile(text);
    } catch (error) {
      if (!(error instanceof UnreadableFileError)) throw error;
      this.#onBad({ file, reason: error.why });
      return { ids: [], isWhole: false, leftFor: "not a file" };
    }
  }

  /** Makes the file if there is none, and tells whether it did. */
  async create(namespace: string, name: string, id: string, options?: Durability): Promise<boolean> {
    const create = () => createExclusive(this.path(namespace, name), id, options);
    return await inEnsuredDir(`${this.#dir}/${namespace}`, 0o700, create);
  }

  /** Gives the name to these, or to none. */
  async write(
    namespace: string,
    name: string,
    ids: readonly string[],
    options?: Durability,
  ): Promise<void> {
    const path = this.path(namespace, name);
    if (ids.length === 0) return void await removeIfThere(path);
    const write = () => writeFileSynced(path, ids.join("\n"), options);
    await inEnsuredDir(`${this.#dir}/${namespace}`, 0o700, write);
  }

  /** All names that have a file, with their namespaces. */
  async all(): Promise<readonly { readonly namespace: string; readonly name: string }[]> {
    const found: { readonly namespace: string; readonly name: string }[] = [];
    for (const namespace of await listDir(this.#dir)) {
      for (const name of await this.#namesIn(namespace)) found.push({ namespace, name });
    }
    return found;
  }

  /** Removes what writes of killed processes left. */
  async removeUnfinished(): Promise<void> {
    for (const namespace of await listDir(this.#dir)) {
      const dir = `${this.#dir}/${namespace}`;
      if (await listIfDir(dir) !== undefined) await removeUnfinished(dir);
    }
  }

  /** None in what is no directory, and was not made here. */
  async #namesIn(namespace: string): Promise<readonly string[]> {
    const file = `${this.#dir}/${namespace}`;
    const names = await listIfDir(file);
    if (names === undefined) this.#onBad({ file, reason: "it is not a directory" });
    return names ?? [];
  }

  /** The file of a name. */
  path(namespace: string, name: string): string {
    return `${this.#dir}/${namespace}/${name}`;
  }
}

function parseNameFile(text: string): NameFile {
  const lines = text.trim() === "" ? [] : text.trim().split("\n").map((line) => line.trim());
  if (lines.every(isContainerId)) return { ids: lines, isWhole: lines.length > 0 };
  const ids = lines.filter(isContainerId);
  return hasKind(text) ? { ids, isWhole: false, leftFor: "newer" } : { ids, isWhole: false };
}

/** Every file of a newer version that is no list of IDs says what it is. */
function hasKind(text: string): boolean {
  try {
    const json = parseJson(text);
    return isObject(json) && typeof json.kind === "string";
  } catch {
    return false;
  }
}

/** One that is being made has its name when the index says so; those of engines and pools have none of their own. */
export function isNamedByItself({ phase, owner, pool }: SandboxRecord): boolean {
  return phase !== "creating" && owner === undefined && pool === undefined;
}

/** What there is on record, as far as {@linkcode repairNames} asks. */
interface Recorded {
  readonly records: readonly SandboxRecord[];
  /** Of these nobody knows how they are called. */
  readonly damaged: readonly { readonly id: string }[];
}

/** Makes the index say what the records say. The caller holds the lock over the names. */
export async function repairNames(index: NameIndex, { records, damaged }: Recorded): Promise<void> {
  const keyOf = ({ namespace, name }: Pick<SandboxRecord, "namespace" | "name">) => `${namespace}/${name}`;
  const byName = Map.groupBy(records, keyOf);
  const names = [...records.filter(isNamedByItself), ...await index.all()];
  // A sandbox of a pool may be about to get a name.
  const unknown = new Set(
    [...damaged, ...records.filter(({ pool }) => pool !== undefined)].map(({ id }) => id),
  );
  for (const { namespace, name } of new Map(names.map((each) => [keyOf(each), each])).values()) {
    const file = await index.read(namespace, name);
    if (file?.leftFor !== undefined) continue;
    const own = byName.get(keyOf({ namespace, name })) ?? [];
    const kept = (file?.ids ?? []).filter((id) => unknown.has(id) || own.some((record) => record.id === id));
    const ids = new Set([...kept, ...own.filter(isNamedByItself).map(({ id }) => id)]);
    const isRight = file?.isWhole === true && file.ids.length === ids.size &&
      file.ids.every((id) => ids.has(id));
    if (!isRight) await index.write(namespace, name, [...ids]);
  }
}
