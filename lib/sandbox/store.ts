import {
  inEnsuredDir,
  listDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  setAside,
  statOf,
  writeFileSynced,
} from "../host/file.ts";
import { inParallel } from "../async/parallel.ts";
import type { BadRecord } from "../state/checksummed.ts";
import { newerRecord, requireFile, UnusableRecord } from "../state/checksummed.ts";
import type { StateFormat } from "../state/state_format.ts";
import { CniError } from "../cni/error.ts";
import { isContainerId } from "../cni/name.ts";
import { ContainerIndex } from "./container_record.ts";
import { type DamagedRecord, damagedRecord } from "./damaged_record.ts";
import { type Durability, NameIndex, repairNames, reservesName } from "./name_index.ts";
import { parseSandbox, printSandbox, type SandboxRecord } from "./record.ts";

/** All that is on record. */
export interface SandboxRecords {
  /** Oldest first. */
  readonly records: readonly SandboxRecord[];
  readonly damaged: readonly DamagedRecord[];
}

/** Takes the lock over the names. */
export type LockNames = (signal?: AbortSignal) => Promise<Disposable>;

/** How {@linkcode SandboxStore.reserve} goes about it. */
export interface ReserveOptions extends Durability {
  /** Whether no other sandbox may have the name, whatever its UID and attempt. @default {true} */
  readonly isUnique?: boolean | undefined;
}

/** As many as Deno has threads for files have something to do meanwhile. */
const FILES_AT_ONCE = 16;

/**
 * The records of sandboxes, `<state-dir>/sandboxes/<id>.json`, and the reservations of their names.
 *
 * Reading changes nothing: a record that cannot be used stays where it is.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class SandboxStore {
  /** The sandboxes that end with a container of an OCI runtime. */
  readonly containers: ContainerIndex;
  readonly #stateDir: string;
  readonly #dir: string;
  readonly #names: NameIndex;
  readonly #onBad: (bad: BadRecord) => void;
  readonly #lockNames: LockNames;
  readonly #format: Pick<StateFormat, "note" | "warnIfNewer"> | undefined;

  constructor(
    stateDir: string,
    onBad: (bad: BadRecord) => void = () => {},
    lockNames: LockNames = () => Promise.resolve({ [Symbol.dispose]: () => {} }),
    format?: Pick<StateFormat, "note" | "warnIfNewer">,
  ) {
    this.#stateDir = stateDir;
    this.#dir = `${stateDir}/sandboxes`;
    this.#names = new NameIndex(stateDir, onBad);
    this.containers = new ContainerIndex(stateDir);
    this.#onBad = onBad;
    this.#lockNames = lockNames;
    this.#format = format;
  }

  /** Writes, or replaces, the record; it is on disk when this returns, unless it need not be. */
  async write(record: SandboxRecord, options?: Durability): Promise<void> {
    await this.#format?.note();
    const text = await printSandbox(record);
    if (record.container !== undefined) await this.containers.add(record.id);
    await inEnsuredDir(this.#dir, 0o700, () => writeFileSynced(this.#path(record.id), text, options));
  }

  /**
   * The record of that ID; nothing if it is damaged.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote it
   */
  async read(id: string): Promise<SandboxRecord | undefined> {
    const found = await this.#readFile(id);
    if (found === undefined || !("text" in found)) return found;
    if (found.isNewer) throw newerRecord(found.file, found.reason);
    return undefined;
  }

  /** What is on record of that ID: a record, or what is left of one. */
  async look(id: string): Promise<SandboxRecord | DamagedRecord | undefined> {
    await this.#format?.warnIfNewer();
    return await this.#readFile(id) ?? await this.#aside(id);
  }

  /** The record of that ID, if it cannot be used. */
  async damagedOf(id: string): Promise<DamagedRecord | undefined> {
    const found = await this.look(id);
    return found !== undefined && "text" in found ? found : undefined;
  }

  /** Forgets a sandbox; its name goes first, so that none stays reserved for nobody. The caller does not hold the lock over the names. */
  async remove(record: SandboxRecord): Promise<void> {
    const { id, name, namespace } = record;
    if (await this.isNamed(record)) {
      using _names = await this.#lockNames();
      await this.#free(namespace, name, id);
    }
    await removeIfThere(this.#path(id));
    await this.#removeAside(id);
    await this.containers.remove(id);
  }

  /** Whether there is a record of that ID, be it one that cannot be used. */
  async has(id: string): Promise<boolean> {
    return await statOf(this.#path(id)) !== undefined || await this.#lastAside(id) !== undefined;
  }

  /** The IDs on record, in byte order, also those whose records cannot be used. */
  async ids(): Promise<readonly string[]> {
    const ids = (await listDir(this.#dir)).flatMap((name) =>
      /^(.+)\.json(?:\.bad-\d+)?$/.exec(name)?.[1] ?? []
    );
    return [...new Set(ids)].filter(isContainerId);
  }

  /** All sandboxes whose records can be used, oldest first. */
  async all(): Promise<readonly SandboxRecord[]> {
    return (await this.scan()).records;
  }

  /** All that is on record. */
  async scan(): Promise<SandboxRecords> {
    await this.#format?.warnIfNewer();
    const found = await inParallel(await this.ids(), FILES_AT_ONCE, (id) => this.look(id));
    const records: SandboxRecord[] = [];
    const damaged: DamagedRecord[] = [];
    for (const each of found) {
      if (each === undefined) continue;
      if ("text" in each) damaged.push(each);
      else records.push(each);
    }
    records.sort((a, b) => a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0);
    return { records, damaged };
  }

  /** Forgets a sandbox whose record is damaged, with the name that is reserved for it. */
  async forgetDamaged(id: string): Promise<void> {
    const damaged = await this.damagedOf(id);
    if (damaged === undefined || damaged.isNewer) return;
    await this.forgetName(id);
    await removeIfThere(this.#path(id));
    await this.#removeAside(id);
    await this.containers.remove(id);
  }

  /** Writes a record in the place of a damaged one, which is moved aside; gives where that is. */
  async repair(record: SandboxRecord): Promise<string> {
    const path = this.#path(record.id);
    const movedTo = await statOf(path) === undefined
      ? await this.#lastAside(record.id)
      : await setAside(path);
    await this.write(record);
    {
      using _names = await this.#lockNames();
      await repairNames(this.#names, await this.scan());
    }
    return movedTo ?? path;
  }

  /** The name that is reserved for a sandbox. */
  async nameOf(id: string): Promise<Pick<SandboxRecord, "name" | "namespace"> | undefined> {
    for (const { namespace, name } of await this.#names.all()) {
      if ((await this.idsOf(namespace, name)).includes(id)) return { name, namespace };
    }
    return undefined;
  }

  /** Frees the name that is reserved for a sandbox. The caller does not hold the lock over the names. */
  async forgetName(id: string): Promise<void> {
    const reserved = await this.nameOf(id);
    if (reserved === undefined) return;
    using _names = await this.#lockNames();
    await this.#free(reserved.namespace, reserved.name, id);
  }

  /** The IDs that the name is reserved for. */
  async idsOf(namespace: string, name: string): Promise<readonly string[]> {
    return (await this.#names.read(namespace, name))?.ids ?? [];
  }

  /** The sandboxes of that name, and damaged records that it is reserved for. Where the index is damaged, all records are asked. */
  async named(namespace: string, name: string): Promise<readonly (SandboxRecord | DamagedRecord)[]> {
    const file = await this.#names.read(namespace, name);
    if (file === undefined) return [];
    const found = await Promise.all(file.ids.map((id) => this.look(id)));
    const holders = found.filter((each) => each !== undefined);
    const isRight = (each: SandboxRecord | DamagedRecord) =>
      "text" in each || (each.name === name && each.namespace === namespace);
    const right = holders.filter(isRight);
    // A sandbox of a pool is about to get the name.
    const isOdd = holders.some((each) => !isRight(each) && !("pool" in each && each.pool !== undefined));
    if (file.isWhole && !isOdd && holders.length === file.ids.length) return right;
    const known = new Set(right.map(({ id }) => id));
    const others = (await this.all()).filter((record) =>
      record.name === name && record.namespace === namespace && reservesName(record) &&
      !known.has(record.id)
    );
    return [...right, ...others];
  }

  /**
   * Gives the name to the sandbox. The caller holds the lock over the names, and the sandbox's record is
   * on disk: a name whose owner has none was left by a crash and is free.
   *
   * @throws {CniError} kind `conflict` if another sandbox has it
   */
  async reserve(record: SandboxRecord, options: ReserveOptions = {}): Promise<void> {
    const { id, name, namespace } = record;
    if (await this.#names.create(namespace, name, id, options)) return;
    const file = await this.#names.read(namespace, name);
    const path = this.#names.path(namespace, name);
    if (file?.keptBecause === "newer") throw newerRecord(path, "it is no list of IDs");
    await requireFile(path);
    const holders = (await this.named(namespace, name)).filter((each) => each.id !== id);
    const other = holders.find((holder) => (options.isUnique ?? true) || isSameAttempt(record, holder));
    if (other !== undefined) throw nameTaken(record, other);
    await this.#names.write(namespace, name, [...holders.map((holder) => holder.id), id], options);
  }

  /** Whether its name is its own: a loss of power may have taken that of a sandbox which was just handed out. */
  async isNamed({ id, name, namespace }: SandboxRecord): Promise<boolean> {
    return (await this.idsOf(namespace, name)).includes(id);
  }

  /**
   * Removes what writes of killed processes left among the records and the names, and makes the index of the names say
   * what the records say. The caller holds the lock over the names.
   */
  async removeUnfinished(): Promise<void> {
    for (const dir of [this.#dir, this.#stateDir]) await removeUnfinished(dir);
    await this.#names.removeUnfinished();
    await this.containers.removeUnfinished();
    await repairNames(this.#names, await this.scan());
  }

  async #free(namespace: string, name: string, id: string): Promise<void> {
    const file = await this.#names.read(namespace, name);
    if (file === undefined || file.keptBecause !== undefined || !file.ids.includes(id)) return;
    await this.#names.write(namespace, name, file.ids.filter((other) => other !== id));
  }

  async #readFile(id: string): Promise<SandboxRecord | DamagedRecord | undefined> {
    const file = this.#path(id);
    let text: string | undefined = "";
    try {
      text = await readTextIfThere(file);
      if (text === undefined) return undefined;
      const record = await parseSandbox(text);
      if (record.id === id) return record;
      throw new UnusableRecord("it is of another sandbox");
    } catch (error) {
      const { message: reason, isNewer } = UnusableRecord.of(error);
      this.#onBad({ file, reason });
      return await damagedRecord(id, file, text ?? "", { reason, isNewer });
    }
  }

  /** What an earlier version moved aside, if nothing is in its place. */
  async #aside(id: string): Promise<DamagedRecord | undefined> {
    const file = await this.#lastAside(id);
    const text = file === undefined ? undefined : await readTextIfThere(file);
    if (file === undefined || text === undefined) return undefined;
    return await damagedRecord(id, file, text, { reason: "it was moved aside", isNewer: false });
  }

  async #lastAside(id: string): Promise<string | undefined> {
    return (await this.#asides(id)).at(-1);
  }

  /** They are numbered; a list of the whole folder would cost more the more sandboxes there are. */
  async #asides(id: string): Promise<readonly string[]> {
    const files: string[] = [];
    for (let n = 1; await statOf(`${this.#path(id)}.bad-${n}`) !== undefined; n++) {
      files.push(`${this.#path(id)}.bad-${n}`);
    }
    return files;
  }

  async #removeAside(id: string): Promise<void> {
    for (const file of await this.#asides(id)) await removeIfThere(file);
  }

  #path(id: string): string {
    return `${this.#dir}/${id}.json`;
  }
}

/** Whether both are the same attempt of the same pod; a damaged record may be. */
export function isSameAttempt(
  { uid, attempt = 0 }: SandboxRecord,
  other: SandboxRecord | DamagedRecord,
): boolean {
  return "text" in other || (other.uid === uid && (other.attempt ?? 0) === attempt);
}

/** That a name is another sandbox's. */
export class NameTakenError extends CniError {}

function nameTaken({ name, namespace }: SandboxRecord, owner: SandboxRecord | DamagedRecord): CniError {
  const msg = `the name "${name}" in namespace "${namespace}" is taken by sandbox ${owner.id}`;
  if ("text" in owner) {
    return new NameTakenError("conflict", msg, {
      details: `its record ${owner.file} cannot be read: ${owner.reason}`,
      hint: `\`podwire repair ${owner.id}\` makes it anew, \`podwire rm -f ${owner.id}\` removes the sandbox`,
    });
  }
  return new NameTakenError("conflict", msg, {
    hint: "choose another name, or take its place with --replace",
  });
}
