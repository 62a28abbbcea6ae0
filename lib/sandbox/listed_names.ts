import { isContainerId } from "../cni/name.ts";
import {
  inEnsuredDir,
  listDir,
  listDirsIn,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  statOwn,
  UnreadableFileError,
  writeFileSynced,
} from "../host/file.ts";
import { inDirNow, isThereNow, makeNow } from "../host/file_now.ts";
import { fnv1a } from "../host/fnv.ts";
import type { SandboxRecord } from "./record.ts";

type Named = Pick<SandboxRecord, "id" | "name">;

/** The boot for which every sandbox is listed. No name of a sandbox begins with a dot. */
const COMPLETE = ".complete";

/**
 * Which sandboxes may have a name, reserved or not: an empty file `<state-dir>/by-name/<number>/<id>` for each, with one of 256
 * numbers for each name, so that a look for a name reads few records, and no folder is made for a sandbox. An entry is made after its record is written and removed before its record, under the lock
 * of the container: a process that is killed in between leaves that lock, and recovery lists the sandbox. After a boot,
 * recovery lists all sandboxes anew.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class ListedNames {
  readonly #dir: string;
  readonly #boot: () => Promise<string>;
  /** What this process has listed. */
  readonly #own = new Map<string, string>();

  constructor(stateDir: string, boot: () => Promise<string>) {
    this.#dir = `${stateDir}/by-name`;
    this.#boot = boot;
  }

  /** Lists a sandbox, under its present name only; called after its record is written. */
  async add({ id, name }: Named): Promise<void> {
    const before = this.#own.get(id);
    if (before === name || !isContainerId(name)) return;
    try {
      const folder = this.#folder(name);
      if (!isThereNow(`${folder}/${id}`)) inDirNow(folder, () => makeNow(`${folder}/${id}`, ""));
    } catch {
      // A full disk, or something else in its place, must keep no sandbox from its end. Then looks read all records.
      return void await removeIfThere(`${this.#dir}/${COMPLETE}`).catch(() => false);
    }
    this.#own.set(id, name);
    if (before !== undefined && numberOf(before) !== numberOf(name)) {
      await this.#removeEntry(id, numberOf(before));
    }
  }

  /** Removes a sandbox from the list; called before its record is removed. */
  async remove({ id, name }: Named): Promise<void> {
    this.#own.delete(id);
    if (isContainerId(name)) await this.#removeEntry(id, numberOf(name));
  }

  /** Removes a sandbox of which only the ID is known. */
  async removeId(id: string): Promise<void> {
    this.#own.delete(id);
    for (const number of await this.#numbers()) await this.#removeEntry(id, number);
  }

  async #numbers(): Promise<readonly string[]> {
    return (await listDirsIn(this.#dir).catch(() => [])).filter((number) => /^[0-9a-f]{2}$/.test(number));
  }

  async #removeEntry(id: string, number: string): Promise<void> {
    const file = `${this.#dir}/${number}/${id}`;
    const entry = await statOwn(file).catch(() => undefined);
    // podwire did not make anything else there.
    if (!entry?.isFile || entry.size > 0) return;
    // An entry that stays has no effect: no record has its ID and its name.
    await removeIfThere(file).catch(() => false);
  }

  /** Returns the IDs of all sandboxes that may have the name; undefined if not all are listed. */
  async idsOf(name: string): Promise<readonly string[] | undefined> {
    if (!isContainerId(name)) return [];
    if (!await this.#isComplete()) return undefined;
    const ids = await listDir(this.#folder(name)).catch(() => undefined);
    return ids?.filter(isContainerId);
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  /**
   * Lists these sandboxes, which are all. Does nothing if all are listed since the boot. `isAlone` says that no other process
   * makes a sandbox meanwhile: then entries without a sandbox are removed.
   */
  async complete(records: readonly Named[], isAlone: boolean): Promise<void> {
    if (await this.#isComplete()) return;
    if (isAlone) await this.#removeOthers(records);
    for (const record of records) await this.add(record);
    const boot = await this.#boot();
    const write = () => writeFileSynced(`${this.#dir}/${COMPLETE}`, boot, { durable: false });
    // Without it looks read all records.
    await inEnsuredDir(this.#dir, 0o700, write).catch(() => {});
  }

  async #removeOthers(records: readonly Named[]): Promise<void> {
    const wanted = new Set(records.map(({ id, name }) => `${numberOf(name)}/${id}`));
    for (const number of await this.#numbers()) {
      for (const id of await listDir(`${this.#dir}/${number}`)) {
        if (!wanted.has(`${number}/${id}`)) await this.#removeEntry(id, number);
      }
    }
  }

  #folder(name: string): string {
    return `${this.#dir}/${numberOf(name)}`;
  }

  async #isComplete(): Promise<boolean> {
    try {
      return await readTextIfThere(`${this.#dir}/${COMPLETE}`) === await this.#boot();
    } catch (error) {
      if (error instanceof UnreadableFileError) return false;
      throw error;
    }
  }
}

/** Returns the number of a name, as two hexadecimal digits. */
export function numberOf(name: string): string {
  return (fnv1a(name, 32) & 0xffn).toString(16).padStart(2, "0");
}
