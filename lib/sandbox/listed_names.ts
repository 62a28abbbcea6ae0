import { isContainerId } from "../cni/name.ts";
import {
  inEnsuredDir,
  listDir,
  listDirsIn,
  readTextIfThere,
  removeDirIfEmpty,
  removeIfThere,
  removeUnfinished,
  statOwn,
  UnreadableFileError,
  writeFileSynced,
} from "../host/file.ts";
import { inDirNow, isThereNow, makeNow } from "../host/file_now.ts";
import type { SandboxRecord } from "./record.ts";

type Named = Pick<SandboxRecord, "id" | "name">;

/** The boot for which every sandbox is listed. No name of a sandbox begins with a dot. */
const COMPLETE = ".complete";

/**
 * Which sandboxes have a name, reserved or not: an empty file `<state-dir>/by-name/<name>/<id>` for each, so that a look for a
 * name does not read all records. An entry is made after its record is written and removed before its record, under the lock
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
      const folder = `${this.#dir}/${name}`;
      // Another process may remove the folder with the last other sandbox that has the name.
      if (!isThereNow(`${folder}/${id}`)) inDirNow(folder, () => makeNow(`${folder}/${id}`, ""));
    } catch {
      // A full disk, or something else in its place, must keep no sandbox from its end. Then looks read all records.
      return void await removeIfThere(`${this.#dir}/${COMPLETE}`).catch(() => false);
    }
    this.#own.set(id, name);
    if (before !== undefined) await this.#removeEntry({ id, name: before });
  }

  /** Removes a sandbox from the list; called before its record is removed. */
  async remove({ id, name }: Named): Promise<void> {
    this.#own.delete(id);
    await this.#removeEntry({ id, name });
  }

  /** Removes a sandbox of which only the ID is known. */
  async removeId(id: string): Promise<void> {
    this.#own.delete(id);
    for (const name of await listDirsIn(this.#dir).catch(() => [])) await this.#removeEntry({ id, name });
  }

  async #removeEntry({ id, name }: Named): Promise<void> {
    if (!isContainerId(name)) return;
    const entry = await statOwn(`${this.#dir}/${name}/${id}`).catch(() => undefined);
    // podwire did not make anything else there.
    if (!entry?.isFile || entry.size > 0) return;
    // An entry that stays has no effect: no record has its ID and its name.
    await removeIfThere(`${this.#dir}/${name}/${id}`).catch(() => false);
    await removeDirIfEmpty(`${this.#dir}/${name}`).catch(() => false);
  }

  /** Returns the IDs of all sandboxes that may have the name; undefined if not all are listed. */
  async idsOf(name: string): Promise<readonly string[] | undefined> {
    if (!isContainerId(name)) return [];
    if (!await this.#isComplete()) return undefined;
    const names = await listDir(`${this.#dir}/${name}`).catch(() => undefined);
    return names?.filter(isContainerId);
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
    const wanted = new Set(records.map(({ id, name }) => `${name}/${id}`));
    for (const name of await listDirsIn(this.#dir)) {
      for (const id of await listDir(`${this.#dir}/${name}`)) {
        if (!wanted.has(`${name}/${id}`)) await this.remove({ id, name });
      }
    }
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
