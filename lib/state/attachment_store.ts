import {
  ensureDir,
  listDir,
  listIfDir,
  readTextIfThere,
  removeDirIfEmpty,
  removeIfThere,
  removeUnfinished,
  setAside,
  statOf,
  writeFileSynced,
} from "../host/file.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { type AttachmentRecord, parseRecord, printRecord } from "./attachment_record.ts";
import { inParallel } from "../async/parallel.ts";
import { newerRecord, readableMember, UnusableRecord } from "./checksummed.ts";
import { shortName } from "./short_name.ts";
import type { StateFormat } from "./state_format.ts";

export type { AttachmentKey } from "./attachment_key.ts";
export { ATTACHMENT_STATES, type AttachmentRecord, type AttachmentState } from "./attachment_record.ts";

/** Which attachments there were at one moment. */
export interface AttachmentIndex {
  /** How many there were. */
  readonly count: number;
  readonly ofNetwork: (network: string) => readonly AttachmentKey[];
}

/** A record that cannot be used. */
export interface BadRecord {
  readonly file: string;
  /** Where it was moved to, if something had to take its place. */
  readonly movedTo?: string;
  readonly reason: string;
}

/** An attachment whose record cannot be used, and has no successor. */
export interface DamagedAttachment extends AttachmentKey {
  /** A very long one is cut, as in the name of the file. */
  readonly network: string;
  /** Where the record is. */
  readonly file: string;
  readonly reason: string;
  /** A newer version wrote it: it is not damaged, and nothing of it may be touched. */
  readonly isNewer: boolean;
  /** The path of the namespace, as far as it can still be read. */
  readonly netns: string | undefined;
}

/** What there is on record of a container. */
export interface ContainerRecords {
  /** In the order in which they were made. */
  readonly records: readonly AttachmentRecord[];
  readonly damaged: readonly DamagedAttachment[];
}

/** What a file says. */
type Found = { readonly record: AttachmentRecord } | {
  readonly unusable: UnusableRecord;
  readonly text: string;
};

const RECORD_NAME = /^(.+)@([^@]+)\.json(\.bad-\d+)?$/;
/** As many as Deno has threads for files have something to do meanwhile. */
const FOLDERS_AT_ONCE = 16;

/**
 * podwire's own records, `<state-dir>/attachments/<containerID>/<ifName>@<network>.json`: one
 * folder a container, so that no look-up depends on how many others there are.
 *
 * Reading changes nothing: a record that cannot be used stays where it is. Earlier versions moved such a record aside,
 * to `.json.bad-1`, and so does who has to write in its place.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class AttachmentStore {
  readonly #dir: string;
  readonly #onBad: (bad: BadRecord) => void;
  readonly #format: Pick<StateFormat, "note" | "sayIfNewer"> | undefined;
  /** The path of a record of each network that was asked for. */
  readonly #lastOf = new Map<string, string>();

  constructor(
    stateDir: string,
    onBad: (bad: BadRecord) => void = () => {},
    format?: Pick<StateFormat, "note" | "sayIfNewer">,
  ) {
    this.#dir = `${stateDir}/attachments`;
    this.#onBad = onBad;
    this.#format = format;
  }

  /** Writes, or replaces, the record; it is on disk when this returns. */
  async write(record: AttachmentRecord): Promise<void> {
    const file = this.#path(record);
    await withCniErrors(async () => {
      await this.#format?.note();
      await ensureDir(this.#folder(record.containerId), 0o700);
      await writeFileSynced(file, await printRecord(record));
    }, { file });
  }

  /**
   * The record of exactly that attachment; nothing if it is damaged.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote it
   */
  async read(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    const path = this.#path(key);
    const found = await this.#readFile(path, key.containerId);
    if (found === undefined) return undefined;
    if ("record" in found) return found.record;
    if (found.unusable.isNewer) throw newerRecord(path, found.unusable.message);
    return undefined;
  }

  /** The record of that attachment, if its container has no other one. */
  async readSole(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    const [record, names] = await Promise.all([this.read(key), this.#namesIn(this.#folder(key.containerId))]);
    return names.filter((name) => name.endsWith(".json")).length === 1 ? record : undefined;
  }

  /** The record of exactly that attachment, or what is left of it; nothing if there is none. */
  async look(key: AttachmentKey): Promise<AttachmentRecord | DamagedAttachment | undefined> {
    const path = this.#path(key);
    const found = await this.#readFile(path, key.containerId);
    if (found !== undefined) return "record" in found ? found.record : damagedOf(key, path, found);
    return (await this.damaged(key.containerId)).find((each) =>
      each.ifName === key.ifName && this.isNamed(key.network, each.network)
    );
  }

  /** Whether there is a record of that attachment, be it one that cannot be used. */
  async isThere(key: AttachmentKey): Promise<boolean> {
    if (await statOf(this.#path(key)) !== undefined) return true;
    return await this.look(key) !== undefined;
  }

  /** Where the record of that attachment is, or would be. */
  fileOf(key: AttachmentKey): string {
    return this.#path(key);
  }

  /** The attachments of a container in the order in which they were made. */
  async ofContainer(containerId: string): Promise<readonly AttachmentRecord[]> {
    return (await this.scan(containerId)).records;
  }

  /** The attachments of a container, and those whose records cannot be used. */
  async scan(containerId: string): Promise<ContainerRecords> {
    await this.#format?.sayIfNewer();
    const folder = this.#folder(containerId);
    const names = await this.#namesIn(folder);
    const records: AttachmentRecord[] = [];
    const damaged = new Map<string, DamagedAttachment>();
    for (const name of names) {
      const [, ifName, network, aside] = RECORD_NAME.exec(name) ?? [];
      const file = `${folder}/${name}`;
      const found = name.endsWith(".json") ? await this.#readFile(file, containerId) : undefined;
      if (found !== undefined && "record" in found) records.push(found.record);
      if (!ifName || !network || (found !== undefined && "record" in found)) continue;
      const key = { containerId, ifName, network };
      if (found !== undefined) damaged.set(`${ifName}@${network}`, damagedOf(key, file, found));
      else if (aside && !names.includes(`${ifName}@${network}.json`)) {
        damaged.set(`${ifName}@${network}`, await this.#asideOf(key, file));
      }
    }
    return { records: records.sort((a, b) => a.sequence - b.sequence), damaged: [...damaged.values()] };
  }

  /** The containers that have a folder. */
  async containers(): Promise<readonly string[]> {
    const names = await listDir(this.#dir);
    const stats = await inParallel(names, FOLDERS_AT_ONCE, (name) => statOf(this.#folder(name)));
    return names.filter((_, index) => stats[index]?.isDirectory);
  }

  /** All attachments. */
  async all(): Promise<readonly AttachmentRecord[]> {
    return (await this.scanAll()).records;
  }

  /** As {@linkcode scan}, of all containers. */
  async scanAll(): Promise<ContainerRecords> {
    await this.#format?.sayIfNewer();
    const scan = (containerId: string) => this.scan(containerId);
    const found = await inParallel(await this.containers(), FOLDERS_AT_ONCE, scan);
    return {
      records: found.flatMap(({ records }) => records),
      damaged: found.flatMap(({ damaged }) => damaged),
    };
  }

  /** The attachments to a network, told by the names of their files alone: also those whose record cannot be read. */
  async ofNetwork(network: string): Promise<readonly AttachmentKey[]> {
    return (await this.index()).ofNetwork(network);
  }

  /** Whether there is one of these. What was found last is looked at first, and all only where there is none. */
  async hasNetwork(network: string): Promise<boolean> {
    const last = this.#lastOf.get(network);
    if (last !== undefined && await statOf(last) !== undefined) return true;
    const ending = `@${shortName(network)}.json`;
    let found: string | undefined;
    await inParallel(await listDir(this.#dir), FOLDERS_AT_ONCE, async (containerId) => {
      const folder = this.#folder(containerId);
      if (found !== undefined || !(await statOf(folder))?.isDirectory) return;
      const name = (await listDir(folder)).find((name) => name.endsWith(ending));
      if (name !== undefined) found = `${folder}/${name}`;
    });
    if (found === undefined) this.#lastOf.delete(network);
    else this.#lastOf.set(network, found);
    return found !== undefined;
  }

  /** As {@linkcode ofNetwork}, for all networks at the price of one. */
  async index(): Promise<AttachmentIndex> {
    const found = await inParallel(await this.containers(), FOLDERS_AT_ONCE, async (containerId) => {
      const all = new Map<string, { containerId: string; ifName: string; part: string }>();
      for (const name of await listDir(this.#folder(containerId))) {
        const [, ifName, part] = RECORD_NAME.exec(name) ?? [];
        if (ifName && part) all.set(`${ifName}@${part}`, { containerId, ifName, part });
      }
      return [...all.values()];
    });
    const all = found.flat();
    const byPart = Map.groupBy(all, ({ part }) => part);
    return {
      count: all.length,
      ofNetwork: (network) =>
        (byPart.get(shortName(network)) ?? []).map(({ containerId, ifName }) => ({
          containerId,
          network,
          ifName,
        })),
    };
  }

  /** Those of a container whose records cannot be used and have no successor. */
  async damaged(containerId: string): Promise<readonly DamagedAttachment[]> {
    return (await this.scan(containerId)).damaged;
  }

  /**
   * Refuses a container of which a newer version wrote a record: what that stands for must not be touched.
   *
   * @throws {CniError} kind `conflict`
   */
  async requireUnderstood(containerId: string): Promise<void> {
    const newer = (await this.damaged(containerId)).find(({ isNewer }) => isNewer);
    if (newer !== undefined) throw newerRecord(newer.file, newer.reason);
  }

  /** Whether the name of a network in the name of a file is cut. */
  isCut(part: string): boolean {
    return part.includes("~");
  }

  /** Whether a network has that name in the names of files. */
  isNamed(network: string, part: string): boolean {
    return shortName(network) === part;
  }

  /** Forgets an attachment, with what was moved aside of it. */
  async remove(key: AttachmentKey): Promise<void> {
    await removeIfThere(this.#path(key));
    if (!await removeDirIfEmpty(this.#folder(key.containerId))) await this.#removeAside(key);
  }

  /** Makes room for another record in the place of a damaged one. */
  async makeRoom(key: AttachmentKey): Promise<void> {
    const path = this.#path(key);
    const found = await this.#readFile(path, key.containerId);
    if (found === undefined || "record" in found) return;
    if (found.unusable.isNewer) throw newerRecord(path, found.unusable.message);
    this.#onBad({ file: path, movedTo: await setAside(path), reason: found.unusable.message });
  }

  /** Removes what was moved aside of an attachment, once it is detached or on record again. */
  async #removeAside(key: AttachmentKey): Promise<void> {
    const folder = this.#folder(key.containerId);
    const aside = `${this.#path(key)}.bad-`;
    const files = (await this.#namesIn(folder)).map((name) => `${folder}/${name}`);
    for (const file of files.filter((file) => file.startsWith(aside))) await removeIfThere(file);
    await removeDirIfEmpty(folder);
  }

  /** Removes what writes of killed processes left among the container's records. */
  async removeUnfinished(containerId: string): Promise<void> {
    await removeUnfinished(this.#folder(containerId));
    await removeDirIfEmpty(this.#folder(containerId));
  }

  /** None in what is no directory, and was not made here. */
  async #namesIn(folder: string): Promise<readonly string[]> {
    const names = await listIfDir(folder);
    if (names === undefined) this.#onBad({ file: folder, reason: "it is not a directory" });
    return names ?? [];
  }

  async #readFile(path: string, containerId: string): Promise<Found | undefined> {
    let text: string | undefined = "";
    try {
      text = await readTextIfThere(path);
      if (text === undefined) return undefined;
      const record = await parseRecord(text);
      if (record.containerId === containerId && path === this.#path(record)) return { record };
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

  #folder(containerId: string): string {
    return `${this.#dir}/${containerId}`;
  }

  #path({ containerId, network, ifName }: AttachmentKey): string {
    // A network name has no "@", so the last one parts the two however the interface is called.
    return `${this.#folder(containerId)}/${ifName}@${shortName(network)}.json`;
  }
}

function damagedOf(
  key: AttachmentKey,
  file: string,
  { unusable: { message: reason, isNewer }, text }: Extract<Found, { readonly text: string }>,
): DamagedAttachment {
  // A whole record of another container in its place says nothing of this one.
  const netns = readableMember(text, "containerId") === key.containerId
    ? readableMember(text, "netns")
    : undefined;
  return { ...key, file, reason, isNewer, netns };
}
