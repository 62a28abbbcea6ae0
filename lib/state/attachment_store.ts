import { inParallel } from "../async/parallel.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import {
  ensureDir,
  lookIntoDir,
  readTextIfThere,
  removeDirIfEmpty,
  removeIfThere,
  removeUnfinished,
  setAside,
  statOwn,
  writeFileSynced,
} from "../host/file.ts";
import { AttachmentFiles, type AttachmentIndex, parseFileName } from "./attachment_files.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { type AttachmentRecord, parseRecord, printRecord } from "./attachment_record.ts";
import { type BadRecord, newerRecord, UnusableRecord } from "./checksummed.ts";
import { type DamagedAttachment, damagedOf } from "./damaged_attachment.ts";
import { isShortNameOf } from "./short_name.ts";
import type { StateFormat } from "./state_format.ts";

export type { AttachmentKey } from "./attachment_key.ts";
export type { AttachmentIndex } from "./attachment_files.ts";
export { ATTACHMENT_STATES, type AttachmentRecord, type AttachmentState } from "./attachment_record.ts";
export type { DamagedAttachment } from "./damaged_attachment.ts";

/** The records of a container. */
export interface ContainerRecords {
  /** In the order in which they were made. */
  readonly records: readonly AttachmentRecord[];
  readonly damaged: readonly DamagedAttachment[];
}

/** The records in the folder of one container. */
export interface FolderRecords extends ContainerRecords {
  /** Whether a killed process left nothing else in the folder. */
  readonly isTidy: boolean;
}

/** The content of a file. */
type ReadRecord = { readonly record: AttachmentRecord } | {
  readonly unusable: UnusableRecord;
  readonly text: string;
};

/** Enough to keep all of the threads busy that Deno has for files. */
const FOLDERS_AT_ONCE = 16;

/**
 * podwire's own records, `<state-dir>/attachments/<containerID>/<ifName>@<network>.json`. Each container has a folder, so
 * that the time of a look-up does not depend on the number of containers.
 *
 * Reading changes nothing: a record that cannot be used stays where it is. Earlier versions moved such a record aside, to
 * `.json.bad-1`, and this version does so before it writes a record in its place.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class AttachmentStore {
  readonly #files: AttachmentFiles;
  readonly #onBad: (bad: BadRecord) => void;
  readonly #format: Pick<StateFormat, "note" | "warnIfNewer"> | undefined;

  constructor(
    stateDir: string,
    onBad: (bad: BadRecord) => void = () => {},
    format?: Pick<StateFormat, "note" | "warnIfNewer">,
  ) {
    this.#files = new AttachmentFiles(`${stateDir}/attachments`);
    this.#onBad = onBad;
    this.#format = format;
  }

  /**
   * Writes, or replaces, the record. When this returns, one that says that the ADD has begun is on the disk: it is enough to
   * detach what a loss of power leaves. So every later one may be lost.
   */
  async write(record: AttachmentRecord): Promise<void> {
    const file = this.fileOf(record);
    await withCniErrors(async () => {
      await this.#format?.note();
      await ensureDir(this.#files.folder(record.containerId), 0o700);
      const durable = record.state === "adding" ? true : "text";
      await writeFileSynced(file, await printRecord(record), { durable });
    }, { file });
  }

  /**
   * Returns the record of exactly that attachment; undefined if it is missing or damaged.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote it
   */
  async read(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    const path = this.fileOf(key);
    const found = await this.#readFile(path, key.containerId);
    if (found === undefined) return undefined;
    if ("record" in found) return found.record;
    if (found.unusable.isNewer) throw newerRecord(path, found.unusable.message);
    return undefined;
  }

  /** Returns the record of that attachment, if its container has no other one. */
  async readSole(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    const [record, names] = await Promise.all([this.read(key), this.#namesOf(key.containerId)]);
    return names.filter((name) => name.endsWith(".json")).length === 1 ? record : undefined;
  }

  /** Returns the record of exactly that attachment, usable or damaged; undefined if there is none. */
  async look(key: AttachmentKey): Promise<AttachmentRecord | DamagedAttachment | undefined> {
    const path = this.fileOf(key);
    const found = await this.#readFile(path, key.containerId);
    if (found !== undefined) return "record" in found ? found.record : damagedOf(key, path, found);
    return (await this.damaged(key.containerId)).find((each) =>
      each.ifName === key.ifName && isShortNameOf(each.network, key.network)
    );
  }

  /** Whether that attachment has a record, usable or not. */
  async has(key: AttachmentKey): Promise<boolean> {
    if (await statOwn(this.fileOf(key)) !== undefined) return true;
    return await this.look(key) !== undefined;
  }

  /** Returns where the record of that attachment is, or would be. */
  fileOf(key: AttachmentKey): string {
    return this.#files.path(key);
  }

  /** Returns the attachments of a container in the order in which they were made. */
  async ofContainer(containerId: string): Promise<readonly AttachmentRecord[]> {
    return (await this.scan(containerId)).records;
  }

  /** Returns the attachments of a container, and those whose records cannot be used. */
  async scan(containerId: string): Promise<FolderRecords> {
    await this.#format?.warnIfNewer();
    const folder = this.#files.folder(containerId);
    const { names, isTidy } = await this.#lookInto(containerId);
    const records: AttachmentRecord[] = [];
    const damaged = new Map<string, DamagedAttachment>();
    for (const name of names) {
      const file = `${folder}/${name}`;
      const found = name.endsWith(".json") ? await this.#readFile(file, containerId) : undefined;
      if (found !== undefined && "record" in found) {
        records.push(found.record);
        continue;
      }
      const parsed = parseFileName(name);
      if (parsed === undefined) continue;
      const { ifName, network, isAside } = parsed;
      const key = { containerId, ifName, network };
      if (found !== undefined) damaged.set(`${ifName}@${network}`, damagedOf(key, file, found));
      else if (isAside && !names.includes(`${ifName}@${network}.json`)) {
        damaged.set(`${ifName}@${network}`, await this.#asideOf(key, file));
      }
    }
    records.sort((a, b) => a.sequence - b.sequence);
    return { records, damaged: [...damaged.values()], isTidy };
  }

  /** Returns the containers that have a folder. */
  async containers(): Promise<readonly string[]> {
    return await this.#files.containers();
  }

  /** Returns all attachments. */
  async all(): Promise<readonly AttachmentRecord[]> {
    return (await this.scanAll()).records;
  }

  /** Same as {@linkcode scan}, of all containers. */
  async scanAll(): Promise<ContainerRecords> {
    await this.#format?.warnIfNewer();
    const scan = (containerId: string) => this.scan(containerId);
    const found = await inParallel(await this.containers(), FOLDERS_AT_ONCE, scan);
    return {
      records: found.flatMap(({ records }) => records),
      damaged: found.flatMap(({ damaged }) => damaged),
    };
  }

  /** Returns the attachments to a network. Looks at file names only, so it includes those whose record cannot be read. */
  async ofNetwork(network: string): Promise<readonly AttachmentKey[]> {
    return (await this.index()).ofNetwork(network);
  }

  /** Whether the network has an attachment; cheaper than {@linkcode ofNetwork}. */
  async hasNetwork(network: string): Promise<boolean> {
    return await this.#files.hasNetwork(network);
  }

  /** Same as {@linkcode ofNetwork}, for all networks at the cost of one. */
  async index(): Promise<AttachmentIndex> {
    return await this.#files.index();
  }

  /** Returns the attachments of a container whose records cannot be used and were not replaced. */
  async damaged(containerId: string): Promise<readonly DamagedAttachment[]> {
    return (await this.scan(containerId)).damaged;
  }

  /**
   * Refuses a container if a newer version wrote one of its records: the attachment must not be touched.
   *
   * @throws {CniError} kind `conflict`
   */
  async requireUnderstood(containerId: string): Promise<void> {
    const newer = (await this.damaged(containerId)).find(({ isNewer }) => isNewer);
    if (newer !== undefined) throw newerRecord(newer.file, newer.reason);
  }

  /** Removes the record of an attachment, and its records that were moved aside. */
  async remove(key: AttachmentKey): Promise<void> {
    await removeIfThere(this.fileOf(key));
    if (!await removeDirIfEmpty(this.#files.folder(key.containerId))) await this.#removeAside(key);
  }

  /** Moves a damaged record aside, so that another record can take its place. */
  async makeRoom(key: AttachmentKey): Promise<void> {
    const path = this.fileOf(key);
    const found = await this.#readFile(path, key.containerId);
    if (found === undefined || "record" in found) return;
    if (found.unusable.isNewer) throw newerRecord(path, found.unusable.message);
    this.#onBad({ file: path, movedTo: await setAside(path), reason: found.unusable.message });
  }

  /** Removes the records that were moved aside, once the attachment is detached or on record again. */
  async #removeAside(key: AttachmentKey): Promise<void> {
    const folder = this.#files.folder(key.containerId);
    const aside = `${this.fileOf(key)}.bad-`;
    const files = (await this.#namesOf(key.containerId)).map((name) => `${folder}/${name}`);
    for (const file of files.filter((file) => file.startsWith(aside))) await removeIfThere(file);
    await removeDirIfEmpty(folder);
  }

  /** Removes the unfinished writes of killed processes from the container's folder. */
  async removeUnfinished(containerId: string): Promise<void> {
    if ((await this.#lookInto(containerId)).isTidy) return;
    const folder = this.#files.folder(containerId);
    await removeUnfinished(folder);
    await removeDirIfEmpty(folder);
  }

  async #namesOf(containerId: string): Promise<readonly string[]> {
    return (await this.#lookInto(containerId)).names;
  }

  /** Finds no names if the folder is not a directory: podwire did not create it. */
  async #lookInto(
    containerId: string,
  ): Promise<{ readonly names: readonly string[]; readonly isTidy: boolean }> {
    const folder = this.#files.folder(containerId);
    const found = await lookIntoDir(folder);
    if (found === undefined) this.#onBad({ file: folder, reason: "it is not a directory" });
    const { names, unfinished } = found ?? { names: [], unfinished: 0 };
    // An empty folder is left by a removal that was killed.
    return { names, isTidy: unfinished === 0 && names.length > 0 };
  }

  async #readFile(path: string, containerId: string): Promise<ReadRecord | undefined> {
    let text: string | undefined = "";
    try {
      text = await readTextIfThere(path);
      if (text === undefined) return undefined;
      const record = await parseRecord(text);
      if (record.containerId === containerId && path === this.fileOf(record)) return { record };
      throw new UnusableRecord("it is of another attachment");
    } catch (error) {
      const unusable = UnusableRecord.of(error);
      this.#onBad({ file: path, reason: unusable.message });
      return { unusable, text: text ?? "" };
    }
  }

  async #asideOf(key: AttachmentKey, file: string): Promise<DamagedAttachment> {
    const text = await readTextIfThere(file) ?? "";
    return damagedOf(key, file, { unusable: new UnusableRecord("it was moved aside"), text });
  }
}
