import { turnIfDue } from "../async/breathe.ts";
import { printJson } from "../cni/json.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { isSameAttachment } from "./attachment_key.ts";
import {
  attachmentLine,
  type ContainerRecords,
  intendedLine,
  readAttachments,
  readIntactNow,
} from "./attachment_lines.ts";
import type { AttachmentRecord } from "./attachment_record.ts";
import { type BadRecord, newerRecord } from "./checksummed.ts";
import type { DamagedAttachment } from "./damaged_attachment.ts";
import type { FoundLog, RecordFiles } from "./record_files.ts";
import { attachmentLineKey, liveKeys, parseLineKey, type RecordLine } from "./record_log.ts";
import { isShortened, isShortNameOf } from "./short_name.ts";
import type { StateFormat } from "./state_format.ts";

export type { AttachmentKey } from "./attachment_key.ts";
export type { ContainerRecords } from "./attachment_lines.ts";
export { ATTACHMENT_STATES, type AttachmentRecord, type AttachmentState } from "./attachment_record.ts";
export type { DisplacedRoutes, RecordedRoute } from "./displaced_routes.ts";
export type { DamagedAttachment } from "./damaged_attachment.ts";

/** The attachments at one moment. */
export interface AttachmentIndex {
  readonly count: number;
  readonly ofNetwork: (network: string) => readonly AttachmentKey[];
}

/** Attachments that a container will get, to be written with the record of its sandbox. */
export interface Intention {
  readonly lines: readonly RecordLine[];
  /** Call when the lines are on the disk: the ADDs need not wait for it again. */
  readonly written: () => void;
}

/** What an {@linkcode AttachmentStore} works with. */
export interface AttachmentStoreOptions {
  /** Returns the identity of this boot. */
  readonly boot: () => Promise<string>;
  readonly onBad?: ((bad: BadRecord) => void) | undefined;
  readonly format?: Pick<StateFormat, "note" | "warnIfNewer"> | undefined;
}

const NO_LOG: Pick<FoundLog, "lines" | "known"> = { lines: [] };
/** So many different lists of keys are kept. */
const MOST_KEYS = 256;

/**
 * The records of attachments, in the files of their containers.
 *
 * Reading changes nothing: a record that cannot be used stays where it is, also after another one was written in its place.
 *
 * Permissions: `--allow-read` for the state directory, and `--allow-write` to write.
 */
export class AttachmentStore {
  readonly #files: RecordFiles;
  readonly #boot: () => Promise<string>;
  #knownBoot: string | undefined;
  readonly #onBad: (bad: BadRecord) => void;
  readonly #format: Pick<StateFormat, "note" | "warnIfNewer"> | undefined;
  /** What this process has put on the disk before the ADD, by container and attachment. */
  readonly #intended = new Map<string, string>();
  readonly #decoded = new WeakMap<FoundLog, ContainerRecords>();
  readonly #keys = new Map<string, readonly string[]>();
  /** A container with an attachment to each network that was asked for. */
  readonly #lastOf = new Map<string, string>();

  constructor(files: RecordFiles, { boot, onBad = () => {}, format }: AttachmentStoreOptions) {
    this.#files = files;
    this.#boot = async () => this.#knownBoot = await boot();
    this.#onBad = onBad;
    this.#format = format;
  }

  /**
   * Writes, or replaces, the record. When this returns, one that says that the ADD has begun is on the disk, or its intention
   * is: it is enough to detach what a loss of power leaves. So every later one may be lost, also one with `isBegun`, which says
   * that the ADD has begun and was written before.
   */
  async write(
    record: AttachmentRecord,
    { isBegun = false }: { readonly isBegun?: boolean } = {},
  ): Promise<void> {
    const id = intentKey(record);
    const isIntended = this.#intended.get(id) === signatureOf(record);
    this.#intended.delete(id);
    await withCniErrors(async () => {
      await this.#format?.note();
      const durable = record.state === "adding" && !isIntended && !isBegun ? true : "text";
      await this.#files.append(record.containerId, [await attachmentLine(record)], { durable });
    }, { file: this.fileOf(record) });
  }

  /** Returns what to write with the record of a sandbox that will get these attachments. */
  async intend(records: readonly AttachmentRecord[]): Promise<Intention> {
    const lines = await Promise.all(records.map(intendedLine));
    const written = () => {
      for (const record of records) {
        this.#intended.set(intentKey(record), signatureOf(record));
      }
    };
    return { lines, written };
  }

  /**
   * Returns the record of exactly that attachment; undefined if it is missing or damaged.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote it
   */
  async read(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    const found = await this.look(key);
    if (found === undefined || !("isNewer" in found)) return found;
    if (found.isNewer) throw newerRecord(found.file, found.reason);
    return undefined;
  }

  /** Returns the record of that attachment, if its container has no other one. */
  async readSole(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    const { records: [record, ...others], damaged } = await this.scan(key.containerId);
    if (record === undefined || others.length + damaged.length > 0) return undefined;
    return isSameAttachment(record, key) ? record : undefined;
  }

  /** Returns the record of exactly that attachment, usable or damaged; undefined if there is none. */
  async look(key: AttachmentKey): Promise<AttachmentRecord | DamagedAttachment | undefined> {
    const { records, damaged } = await this.scan(key.containerId);
    return records.find((record) => isSameAttachment(record, key)) ??
      damaged.find(({ ifName, network }) => ifName === key.ifName && isShortNameOf(network, key.network));
  }

  /** Whether that attachment has a record, usable or not. */
  async has(key: AttachmentKey): Promise<boolean> {
    return await this.look(key) !== undefined;
  }

  /** Returns where the record of that attachment is, or would be. */
  fileOf({ containerId }: Pick<AttachmentKey, "containerId">): string {
    return this.#files.path(containerId);
  }

  /** Returns the attachments of a container in the order in which they were made. */
  async ofContainer(containerId: string): Promise<readonly AttachmentRecord[]> {
    return (await this.scan(containerId)).records;
  }

  /** Returns the attachments of a container, and those whose records cannot be used. `read` has its records, if they were just read. */
  async scan(containerId: string, read?: FoundLog): Promise<ContainerRecords> {
    await this.#format?.warnIfNewer();
    const log = read ?? await this.#files.read(containerId);
    if (log === undefined) return { records: [], damaged: [] };
    const known = this.scanNow(containerId, log);
    if (known !== undefined) return known;
    const found = await readAttachments(containerId, log, { boot: this.#boot, onBad: this.#onBad });
    // What is damaged is reported each time.
    if (found.damaged.length === 0) this.#decoded.set(log, found);
    return found;
  }

  /** Same as {@linkcode scan} in the same turn of the event loop, if all is intact; undefined if `scan` has to look. */
  scanNow(containerId: string, read?: FoundLog): ContainerRecords | undefined {
    const log = read ?? this.#files.readNow(containerId);
    if (log === undefined) return undefined;
    const known = this.#decoded.get(log);
    if (known !== undefined) return known;
    const found = readIntactNow(containerId, log, this.#knownBoot);
    if (found === undefined) return undefined;
    this.#decoded.set(log, found);
    if (log.known !== undefined) log.known.keys ??= this.#sharedKeys(found.records.map(attachmentLineKey));
    return found;
  }

  /** Returns the containers that have records, of attachments or of a sandbox. */
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
    const all: { readonly records: AttachmentRecord[]; readonly damaged: DamagedAttachment[] } = {
      records: [],
      damaged: [],
    };
    for (const containerId of await this.containers()) {
      const turn = turnIfDue();
      if (turn !== undefined) await turn;
      const log = this.#files.readNow(containerId);
      const { records, damaged } = log && this.scanNow(containerId, log) || await this.scan(containerId, log);
      all.records.push(...records);
      all.damaged.push(...damaged);
    }
    return all;
  }

  /** Returns the attachments to a network, including those whose record cannot be read. */
  async ofNetwork(network: string): Promise<readonly AttachmentKey[]> {
    return (await this.index()).ofNetwork(network);
  }

  /** Whether the network has an attachment. Looks first at the container found last, and at the others only if it has none. */
  async hasNetwork(network: string): Promise<boolean> {
    const last = this.#lastOf.get(network);
    const isAttached = async (containerId: string) =>
      (await this.#keysOf(containerId)).some((key) => isShortNameOf(key.network, network));
    if (last !== undefined && await isAttached(last)) return true;
    this.#lastOf.delete(network);
    for (const containerId of await this.containers()) {
      if (!await isAttached(containerId)) continue;
      this.#lastOf.set(network, containerId);
      return true;
    }
    return false;
  }

  /** Same as {@linkcode ofNetwork}, for all networks at the cost of one. Decodes no record. */
  async index(): Promise<AttachmentIndex> {
    const keys: AttachmentKey[] = [];
    for (const containerId of await this.containers()) {
      const turn = turnIfDue();
      if (turn !== undefined) await turn;
      keys.push(...await this.#keysOf(containerId));
    }
    const byName = Map.groupBy(keys, ({ network }) => network);
    const shortened = [...byName.keys()].filter(isShortened);
    return {
      count: keys.length,
      ofNetwork: (network) => {
        const names = [network, ...shortened.filter((name) => isShortNameOf(name, network))];
        return names.flatMap((name) => byName.get(name) ?? []).map((key) => ({ ...key, network }));
      },
    };
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

  /** Removes the record of an attachment. */
  async remove(key: AttachmentKey): Promise<void> {
    this.#intended.delete(intentKey(key));
    await this.#files.remove(key.containerId, attachmentLineKey(key));
  }

  /**
   * Refuses to replace a record of a newer version. A damaged one may be replaced.
   *
   * @throws {CniError} kind `conflict`
   */
  async requireReplaceable(key: AttachmentKey): Promise<void> {
    await this.read(key);
  }

  async #keysOf(containerId: string): Promise<readonly AttachmentKey[]> {
    const keys = this.#files.knownNow(containerId)?.keys ?? await this.#readKeys(containerId);
    return keys.flatMap((key) => {
      const parsed = parseLineKey(key);
      return parsed === undefined ? [] : [{ containerId, ...parsed }];
    });
  }

  async #readKeys(containerId: string): Promise<readonly string[]> {
    const { lines, known } = await this.#files.read(containerId) ?? NO_LOG;
    const keys = this.#sharedKeys(await liveKeys(lines));
    if (known !== undefined) known.keys = keys;
    return keys;
  }

  /** Nearly all containers have the same keys, and a part of a text would keep the whole text. */
  #sharedKeys(keys: readonly string[]): readonly string[] {
    const name = keys.join(" ");
    const shared = this.#keys.get(name);
    if (shared !== undefined) return shared;
    if (this.#keys.size >= MOST_KEYS) this.#keys.clear();
    this.#keys.set(name, keys);
    return keys;
  }
}

function intentKey(key: AttachmentKey): string {
  return `${key.containerId} ${attachmentLineKey(key)}`;
}

/** Returns all that a DEL needs of the record. */
function signatureOf({ config, cniVersion, cniArgs, capabilityArgs, owner }: AttachmentRecord): string {
  return printJson([
    config,
    cniVersion ?? null,
    cniArgs.map(([key, value]) => [key, value]),
    capabilityArgs,
    owner,
  ]);
}
