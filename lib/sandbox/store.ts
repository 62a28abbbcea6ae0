import { inParallel } from "../async/parallel.ts";
import { CniError } from "../cni/error.ts";
import { isContainerId } from "../cni/name.ts";
import {
  inEnsuredDir,
  listDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  setAside,
  statOwn,
  writeFileSynced,
} from "../host/file.ts";
import type { BadRecord } from "../state/checksummed.ts";
import { newerRecord, requireFile, UnusableRecord } from "../state/checksummed.ts";
import type { StateFormat } from "../state/state_format.ts";
import { ContainerIndex } from "./container_record.ts";
import { type DamagedRecord, damagedRecord, isDamaged } from "./damaged_record.ts";
import { type Durability, NameIndex, repairNames, reservesName } from "./name_index.ts";
import { parseSandbox, printSandbox, type SandboxRecord } from "./record.ts";

/** All records of sandboxes. */
export interface SandboxRecords {
  /** Oldest first. */
  readonly records: readonly SandboxRecord[];
  readonly damaged: readonly DamagedRecord[];
}

/** Takes the lock of the names. */
export type LockNames = (signal?: AbortSignal) => Promise<Disposable>;

/** How {@linkcode SandboxStore.reserve} reserves a name. */
export interface ReserveOptions extends Durability {
  /** Whether no other sandbox may have the name, whatever its UID and attempt. @default {true} */
  readonly isUnique?: boolean | undefined;
}

/** More than the number of file threads of Deno, so that all of them are busy. */
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

  /**
   * Creates or replaces the record. When this returns, one that says that the sandbox is being created is on the disk: it
   * is enough to remove all that a loss of power leaves. So every later one may be lost.
   */
  async write(record: SandboxRecord, options?: Durability): Promise<void> {
    await this.#format?.note();
    const durable = options?.durable ?? (record.phase === "creating" ? true : "text");
    const text = await printSandbox(record);
    if (record.container !== undefined) await this.containers.add(record.id);
    await inEnsuredDir(this.#dir, 0o700, () => writeFileSynced(this.#path(record.id), text, { durable }));
  }

  /**
   * Returns the record with that ID; undefined if there is none, or it is damaged.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote it
   */
  async read(id: string): Promise<SandboxRecord | undefined> {
    const found = await this.#readFile(id);
    if (found === undefined || !isDamaged(found)) return found;
    if (found.isNewer) throw newerRecord(found.file, found.reason);
    return undefined;
  }

  /** Returns the record with that ID, or what is left of a damaged one. */
  async readAny(id: string): Promise<SandboxRecord | DamagedRecord | undefined> {
    await this.#format?.warnIfNewer();
    return await this.#readFile(id) ?? await this.#readAside(id);
  }

  /** Returns the record with that ID if it cannot be used. */
  async damagedOf(id: string): Promise<DamagedRecord | undefined> {
    const found = await this.readAny(id);
    return found !== undefined && isDamaged(found) ? found : undefined;
  }

  /** Removes a sandbox. Its name is freed first, so that no name stays reserved without a sandbox. The caller does not hold the lock of the names. */
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

  /** Whether there is a record with that ID, usable or not. */
  async has(id: string): Promise<boolean> {
    return await statOwn(this.#path(id)) !== undefined || await this.#lastAside(id) !== undefined;
  }

  /** Returns the IDs of all records, in byte order, including those that cannot be used. */
  async ids(): Promise<readonly string[]> {
    const ids = (await listDir(this.#dir)).flatMap((name) =>
      /^(.+)\.json(?:\.bad-\d+)?$/.exec(name)?.[1] ?? []
    );
    return [...new Set(ids)].filter(isContainerId);
  }

  /** Returns all records that can be used, oldest first. */
  async all(): Promise<readonly SandboxRecord[]> {
    return (await this.scan()).records;
  }

  /** Returns all records. */
  async scan(): Promise<SandboxRecords> {
    await this.#format?.warnIfNewer();
    const found = await inParallel(await this.ids(), FILES_AT_ONCE, (id) => this.readAny(id));
    const records: SandboxRecord[] = [];
    const damaged: DamagedRecord[] = [];
    for (const each of found) {
      if (each === undefined) continue;
      if (isDamaged(each)) damaged.push(each);
      else records.push(each);
    }
    records.sort((a, b) => a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0);
    return { records, damaged };
  }

  /** Removes a sandbox whose record is damaged, with the name that is reserved for it. */
  async forgetDamaged(id: string): Promise<void> {
    const damaged = await this.damagedOf(id);
    if (damaged === undefined || damaged.isNewer) return;
    await this.forgetName(id);
    await removeIfThere(this.#path(id));
    await this.#removeAside(id);
    await this.containers.remove(id);
  }

  /** Replaces a damaged record, which is moved aside. Returns the path of the damaged record. */
  async repair(record: SandboxRecord): Promise<string> {
    const path = this.#path(record.id);
    const movedTo = await statOwn(path) === undefined
      ? await this.#lastAside(record.id)
      : await setAside(path);
    await this.write(record);
    {
      using _names = await this.#lockNames();
      await repairNames(this.#names, await this.scan());
    }
    return movedTo ?? path;
  }

  /** Returns the name that is reserved for a sandbox. */
  async nameOf(id: string): Promise<Pick<SandboxRecord, "name" | "namespace"> | undefined> {
    for (const { namespace, name } of await this.#names.all()) {
      if ((await this.idsOf(namespace, name)).includes(id)) return { name, namespace };
    }
    return undefined;
  }

  /** Frees the name that is reserved for a sandbox. The caller does not hold the lock of the names. */
  async forgetName(id: string): Promise<void> {
    const reserved = await this.nameOf(id);
    if (reserved === undefined) return;
    using _names = await this.#lockNames();
    await this.#free(reserved.namespace, reserved.name, id);
  }

  /** Returns the IDs that the name is reserved for. */
  async idsOf(namespace: string, name: string): Promise<readonly string[]> {
    return (await this.#names.read(namespace, name))?.ids ?? [];
  }

  /** Returns the sandboxes with that name, and the damaged records that it is reserved for. If the index is damaged, reads all records. */
  async named(namespace: string, name: string): Promise<readonly (SandboxRecord | DamagedRecord)[]> {
    const file = await this.#names.read(namespace, name);
    if (file === undefined) return [];
    const found = await Promise.all(file.ids.map((id) => this.readAny(id)));
    const holders = found.filter((each) => each !== undefined);
    const isRight = (each: SandboxRecord | DamagedRecord) =>
      isDamaged(each) || (each.name === name && each.namespace === namespace);
    const right = holders.filter(isRight);
    // A warm sandbox may be about to get the name.
    const isStale = holders.some((each) => !isRight(each) && !("pool" in each && each.pool !== undefined));
    if (file.isWhole && !isStale && holders.length === file.ids.length) return right;
    const known = new Set(right.map(({ id }) => id));
    const others = (await this.all()).filter((record) =>
      record.name === name && record.namespace === namespace && reservesName(record) &&
      !known.has(record.id)
    );
    return [...right, ...others];
  }

  /**
   * Reserves the name for the sandbox. The caller holds the lock of the names, and the sandbox's record is on disk: a name
   * whose sandbox has no record was left by a crash and is free.
   *
   * @throws {CniError} kind `conflict` if another sandbox has it
   */
  async reserve(record: SandboxRecord, options: ReserveOptions = {}): Promise<void> {
    const { id, name, namespace } = record;
    if (await this.#names.create(namespace, name, id, options)) return;
    const file = await this.#names.read(namespace, name);
    const path = this.#names.path(namespace, name);
    if (file?.keptBecause === "newer") throw newerRecord(path, "it is not a list of IDs");
    await requireFile(path);
    const holders = (await this.named(namespace, name)).filter((each) => each.id !== id);
    const other = holders.find((holder) => (options.isUnique ?? true) || isSameAttempt(record, holder));
    if (other !== undefined) throw nameTaken(record, other);
    await this.#names.write(namespace, name, [...holders.map((holder) => holder.id), id], options);
  }

  /** Whether its name is reserved. After a loss of power, the name of a warm sandbox that was just claimed may not be. */
  async isNamed({ id, name, namespace }: SandboxRecord): Promise<boolean> {
    return (await this.idsOf(namespace, name)).includes(id);
  }

  /**
   * Removes unfinished files of killed processes among the records and the names, and corrects the index of the names by the
   * records. The caller holds the lock of the names.
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
      throw new UnusableRecord("it belongs to another sandbox");
    } catch (error) {
      const { message: reason, isNewer } = UnusableRecord.of(error);
      this.#onBad({ file, reason });
      return await damagedRecord(id, file, text ?? "", { reason, isNewer });
    }
  }

  /** Returns the record that an earlier version moved aside, if no other record has its place. */
  async #readAside(id: string): Promise<DamagedRecord | undefined> {
    const file = await this.#lastAside(id);
    const text = file === undefined ? undefined : await readTextIfThere(file);
    if (file === undefined || text === undefined) return undefined;
    return await damagedRecord(id, file, text, { reason: "it was moved aside", isNewer: false });
  }

  async #lastAside(id: string): Promise<string | undefined> {
    return (await this.#asides(id)).at(-1);
  }

  /** The files are numbered. Listing the whole directory would cost more with each sandbox. */
  async #asides(id: string): Promise<readonly string[]> {
    const files: string[] = [];
    for (let n = 1; await statOwn(`${this.#path(id)}.bad-${n}`) !== undefined; n++) {
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

/** Whether both are the same attempt of the same pod. A damaged record counts as the same, because it may be. */
export function isSameAttempt(
  { uid, attempt = 0 }: SandboxRecord,
  other: SandboxRecord | DamagedRecord,
): boolean {
  return isDamaged(other) || (other.uid === uid && (other.attempt ?? 0) === attempt);
}

/** The name is reserved for another sandbox. */
export class NameTakenError extends CniError {}

function nameTaken({ name, namespace }: SandboxRecord, owner: SandboxRecord | DamagedRecord): CniError {
  const msg = `the name "${name}" in namespace "${namespace}" is taken by sandbox ${owner.id}`;
  if (isDamaged(owner)) {
    return new NameTakenError("conflict", msg, {
      details: `its record ${owner.file} cannot be read: ${owner.reason}`,
      hint: `\`podwire repair ${owner.id}\` recreates it, \`podwire rm -f ${owner.id}\` removes the sandbox`,
    });
  }
  return new NameTakenError("conflict", msg, {
    hint: "choose another name, or replace that sandbox with --replace",
  });
}
