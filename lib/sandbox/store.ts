import { turnIfDue } from "../async/breathe.ts";
import { catalogsDir } from "../catalog/memory.ts";
import { isContainerId } from "../cni/name.ts";
import { removeUnfinished } from "../host/file.ts";
import type { Intention } from "../state/attachment_store.ts";
import type { BadRecord } from "../state/checksummed.ts";
import { newerRecord, requireFile } from "../state/checksummed.ts";
import type { FoundLog, RecordFiles } from "../state/record_files.ts";
import { type RecordLine, SANDBOX_KEY } from "../state/record_log.ts";
import type { StateFormat } from "../state/state_format.ts";
import { ContainerIndex } from "./container_record.ts";
import { type DamagedRecord, isDamaged } from "./damaged_record.ts";
import { ListedNames } from "./listed_names.ts";
import { type Durability, NameIndex, repairNames, reservesName } from "./name_index.ts";
import { isSameAttempt, nameTaken } from "./name_taken.ts";
import { printSandbox, type SandboxRecord, warmName } from "./record.ts";
import { SandboxReader } from "./sandbox_reader.ts";

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

/** What a {@linkcode SandboxStore} works with. */
export interface SandboxStoreOptions {
  readonly stateDir: string;
  readonly files: RecordFiles;
  /** Returns the identity of this boot. */
  readonly boot: () => Promise<string>;
  readonly onBad?: ((bad: BadRecord) => void) | undefined;
  /** @default {no other process changes names} */
  readonly lockNames?: LockNames | undefined;
  readonly format?: Pick<StateFormat, "note" | "warnIfNewer"> | undefined;
}

/** A record that is written, and on its way to the disk. */
export interface BegunSandbox {
  /** Resolves when no loss of power can take the record back. No plugin may run before. */
  readonly onDisk: Promise<void>;
}

/**
 * The records of sandboxes, in the files of their containers, and the reservations of their names.
 *
 * Reading changes nothing: a record that cannot be used stays where it is.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class SandboxStore {
  /** The sandboxes that end with a container of an OCI runtime. */
  readonly containers: ContainerIndex;
  readonly #stateDir: string;
  readonly #files: RecordFiles;
  readonly #listed: ListedNames;
  readonly #names: NameIndex;
  readonly #reader: SandboxReader;
  readonly #lockNames: LockNames;
  readonly #format: Pick<StateFormat, "note" | "warnIfNewer"> | undefined;

  constructor({ stateDir, files, boot, onBad = () => {}, lockNames, format }: SandboxStoreOptions) {
    this.#stateDir = stateDir;
    this.#files = files;
    this.#names = new NameIndex(stateDir, onBad);
    this.#listed = new ListedNames(stateDir, boot);
    this.containers = new ContainerIndex(stateDir);
    this.#reader = new SandboxReader(files, { boot, onBad });
    this.#lockNames = lockNames ?? (() => Promise.resolve({ [Symbol.dispose]: () => {} }));
    this.#format = format;
  }

  /**
   * Creates or replaces the record. When this returns, one that says that the sandbox is being created is on the disk, with
   * the attachments that it will get: it is enough to remove all that a loss of power leaves. So every later one may be lost.
   */
  async write(record: SandboxRecord, { durable }: Durability = {}): Promise<void> {
    const isIntent = record.phase === "creating";
    await this.#append(record, [], durable ?? (isIntent ? true : "text"));
  }

  /**
   * Writes the record of a sandbox that is being created, with the attachments that it will get. Meanwhile the disk has time
   * to store its name, which takes as long as many of the next steps.
   */
  async begin(record: SandboxRecord, intention: Intention): Promise<BegunSandbox> {
    await this.#append(record, intention.lines, "text");
    const onDisk = this.#files.syncNames().then(intention.written);
    // A caller that fails before it waits for this has another reason.
    onDisk.catch(() => {});
    return { onDisk };
  }

  async #append(
    record: SandboxRecord,
    intended: readonly RecordLine[],
    durable: Durability["durable"],
  ): Promise<void> {
    await this.#format?.note();
    const line = { key: SANDBOX_KEY, text: await printSandbox(record) };
    if (record.container !== undefined) await this.containers.add(record.id);
    await this.#files.append(record.id, [line, ...intended], { durable });
    await this.#listed.add(record);
  }

  /**
   * Returns the record with that ID; undefined if there is none, or it is damaged.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote it
   */
  async read(id: string): Promise<SandboxRecord | undefined> {
    const found = await this.#reader.read(id);
    if (found === undefined || !isDamaged(found)) return found;
    if (found.isNewer) throw newerRecord(found.file, found.reason);
    return undefined;
  }

  /** Returns the record with that ID, or what is left of a damaged one. */
  async readAny(id: string): Promise<SandboxRecord | DamagedRecord | undefined> {
    await this.#format?.warnIfNewer();
    return await this.#reader.read(id);
  }

  /** Returns an intact record in the same turn of the event loop; undefined if {@linkcode SandboxStore.readAny} has to look. */
  readNow(id: string): SandboxRecord | undefined {
    return this.#reader.readNow(id);
  }

  /** See {@linkcode SandboxReader.logOf}. */
  logOf(record: SandboxRecord): FoundLog | undefined | "changed" {
    return this.#reader.logOf(record);
  }

  /** See {@linkcode SandboxReader.release}. */
  release(record: SandboxRecord): void {
    this.#reader.release(record);
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
    await this.#listed.remove(record);
    await this.#files.remove(id, SANDBOX_KEY);
    await this.containers.remove(id);
  }

  /** Lists a sandbox after an operation on it that was interrupted. The caller holds the container's lock. */
  async relist(record: SandboxRecord): Promise<void> {
    await this.#listed.remove({ id: record.id, name: warmName(record.id) });
    await this.#listed.add(record);
  }

  /** Whether there is a record with that ID, usable or not. */
  async has(id: string): Promise<boolean> {
    return await this.#reader.read(id) !== undefined;
  }

  /** Returns the IDs of all containers with records, in byte order: those of sandboxes, usable or not, and others. */
  async ids(): Promise<readonly string[]> {
    return (await this.#files.containers()).filter(isContainerId);
  }

  /** Returns all records that can be used, oldest first. */
  async all(): Promise<readonly SandboxRecord[]> {
    return (await this.scan()).records;
  }

  /** Returns all records, or those of some containers. Calls `onRead` with each that can be used, right after it was read. */
  async scan(ids?: readonly string[], onRead?: (record: SandboxRecord) => void): Promise<SandboxRecords> {
    await this.#format?.warnIfNewer();
    const records: SandboxRecord[] = [];
    const damaged: DamagedRecord[] = [];
    for (const id of ids ?? await this.ids()) {
      const turn = turnIfDue();
      if (turn !== undefined) await turn;
      const found = this.#reader.read(id);
      const each = found instanceof Promise ? await found : found;
      if (each === undefined) continue;
      if (isDamaged(each)) {
        damaged.push(each);
        continue;
      }
      records.push(each);
      onRead?.(each);
    }
    records.sort((a, b) => a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0);
    return { records, damaged };
  }

  /** Returns the containers whose sandboxes may have the name, whether it is reserved or not. */
  async idsNamed(name: string): Promise<readonly string[]> {
    return await this.#listed.idsOf(name) ?? await this.ids();
  }

  /** Removes a sandbox whose record is damaged, with the name that is reserved for it. */
  async forgetDamaged(id: string): Promise<void> {
    const damaged = await this.damagedOf(id);
    if (damaged === undefined || damaged.isNewer) return;
    await this.forgetName(id);
    await this.#listed.removeId(id);
    await this.#files.remove(id, SANDBOX_KEY);
    await this.containers.remove(id);
  }

  /** Replaces a damaged record. */
  async repair(record: SandboxRecord): Promise<void> {
    await this.write(record);
    using _names = await this.#lockNames();
    await repairNames(this.#names, await this.scan());
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
   * Removes unfinished files of killed processes among the records, the names and the remembered catalogs, and corrects the
   * index of the names by the records. The caller holds the lock of the names. `isAlone` says that no process makes a sandbox
   * meanwhile.
   */
  async removeUnfinished({ isAlone = false } = {}): Promise<void> {
    await this.#files.removeUnfinished();
    for (const dir of [this.#stateDir, catalogsDir(this.#stateDir)]) await removeUnfinished(dir);
    await this.#names.removeUnfinished();
    await this.containers.removeUnfinished();
    await this.#listed.removeUnfinished();
    const found = await this.scan();
    await repairNames(this.#names, found);
    // The name of a damaged one may be unknown.
    if (found.damaged.length === 0) await this.#listed.complete(found.records, isAlone);
  }

  async #free(namespace: string, name: string, id: string): Promise<void> {
    const file = await this.#names.read(namespace, name);
    if (file === undefined || file.keptBecause !== undefined || !file.ids.includes(id)) return;
    await this.#names.write(namespace, name, file.ids.filter((other) => other !== id));
  }
}
