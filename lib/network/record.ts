import {
  ensureDir,
  listDir,
  readTextIfThere,
  removeDirIfEmpty,
  removeIfThere,
  removeUnfinished,
  setAside,
  statOf,
  writeFileSynced,
} from "../host/file.ts";
import { reported } from "../plugin/failure.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import type { Refusal } from "../plugin/refusal.ts";
import { isObject, type Json, type JsonObject, numberOf } from "../spec/json.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../spec/version.ts";
import { inParallel } from "./parallel.ts";
import { optionalObject, optionalText, seal, textOf, unseal, wordOf } from "./sealed.ts";
import { shortName } from "./short_name.ts";

/** One (network, container ID, interface name) triple. */
export interface AttachmentKey {
  /** The container that is attached. */
  readonly containerId: string;
  /** The name of the network. */
  readonly network: string;
  /** The interface inside the container. */
  readonly ifName: string;
}

/**
 * How far an attachment is. `adding` is on disk before the first plugin runs, so whatever happens
 * after is known to have begun.
 */
export const ATTACHMENT_STATES = ["adding", "attached", "deleting", "failed"] as const;

/** One of {@linkcode ATTACHMENT_STATES}. */
export type AttachmentState = typeof ATTACHMENT_STATES[number];

/** What podwire knows of an attachment: the truth about what it owns. */
export interface AttachmentRecord extends AttachmentKey {
  /** How far it is. */
  readonly state: AttachmentState;
  /** The path of the namespace at its ADD. */
  readonly netns: string;
  /** Device and inode of the namespace, to tell whether the path still leads to it. */
  readonly netnsId: string | undefined;
  /** When the file of the namespace came to be, in seconds since 1970: a number that is free again is given away. */
  readonly netnsSince?: number;
  /** Who answers for it: `sandbox:<id>` or `cli`. */
  readonly owner: string;
  /** When it entered its state, ISO 8601. */
  readonly since: string;
  /** The boot of its ADD. */
  readonly bootId: string;
  /** Grows with each attachment of the container: tear-down goes backwards. */
  readonly sequence: number;
  /** How often its removal failed. */
  readonly attempts: number;
  /** ISO 8601. */
  readonly nextTry: string | undefined;
  /** What the last failure said. */
  readonly error: JsonObject | undefined;
  /** The effective configuration list, with the plugins of its folder, as text. */
  readonly config: string;
  /** The version that its plugins were spoken with in. @default {that of the configuration} */
  readonly cniVersion?: SpecVersion;
  /** `CNI_ARGS` of its ADD; the DEL repeats them. */
  readonly cniArgs: CniArgs;
  /** The capability arguments of its ADD; the DEL repeats them. */
  readonly capabilityArgs: JsonObject;
  /** What its ADD came to, in the network's version. */
  readonly result: JsonObject | undefined;
  /**
   * Of an ADD that failed: the index of the first plugin that did not run. It has made nothing, so its refusal keeps no
   * removal from succeeding.
   */
  readonly neverRan?: number;
  /** Of an ADD that failed: what the first plugin refused, if it refused its input. */
  readonly refusal?: Refusal;
}

/** Which attachments there were at one moment. */
export interface AttachmentIndex {
  /** How many there were. */
  readonly count: number;
  readonly ofNetwork: (network: string) => readonly AttachmentKey[];
}

/** A record that could not be read and was moved aside. */
export interface BadRecord {
  readonly file: string;
  readonly movedTo: string;
  readonly reason: string;
}

/** An attachment whose record was moved aside, and has no successor. */
export interface DamagedAttachment extends AttachmentKey {
  /** A very long one is cut, as in the name of the file. */
  readonly network: string;
  /** Where the record was moved to. */
  readonly file: string;
}

const KIND = "podwire.attachment.v1";
const RECORD_NAME = /^(.+)@([^@]+)\.json(\.bad-\d+)?$/;
/** As many as Deno has threads for files have something to do meanwhile. */
const FOLDERS_AT_ONCE = 16;

/**
 * podwire's own records, `<state-dir>/attachments/<containerID>/<ifName>@<network>.json`: one
 * folder a container, so that no look-up depends on how many others there are.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state directory.
 */
export class AttachmentStore {
  readonly #dir: string;
  readonly #onBad: (bad: BadRecord) => void;
  /** The path of a record of each network that was asked for. */
  readonly #lastOf = new Map<string, string>();

  constructor(stateDir: string, onBad: (bad: BadRecord) => void = () => {}) {
    this.#dir = `${stateDir}/attachments`;
    this.#onBad = onBad;
  }

  /** Writes, or replaces, the record; it is on disk when this returns. */
  async write(record: AttachmentRecord): Promise<void> {
    const file = this.#path(record);
    await reported(async () => {
      await ensureDir(this.#folder(record.containerId), 0o700);
      await writeFileSynced(file, await seal(KIND, encode(record)));
    }, { file });
  }

  /** The record of exactly that attachment. */
  async read(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    return await this.#readFile(this.#path(key), key.containerId);
  }

  /** The record of that attachment, if its container has no other one. */
  async readSole(key: AttachmentKey): Promise<AttachmentRecord | undefined> {
    const [record, names] = await Promise.all([this.read(key), listDir(this.#folder(key.containerId))]);
    return names.filter((name) => name.endsWith(".json")).length === 1 ? record : undefined;
  }

  /** The attachments of a container in the order in which they were made. */
  async ofContainer(containerId: string): Promise<readonly AttachmentRecord[]> {
    const folder = this.#folder(containerId);
    const records: AttachmentRecord[] = [];
    for (const name of await listDir(folder)) {
      if (!name.endsWith(".json")) continue;
      const record = await this.#readFile(`${folder}/${name}`, containerId);
      if (record !== undefined) records.push(record);
    }
    return records.sort((a, b) => a.sequence - b.sequence);
  }

  /** The containers that have a folder. */
  async containers(): Promise<readonly string[]> {
    const names = await listDir(this.#dir);
    const stats = await inParallel(names, FOLDERS_AT_ONCE, (name) => statOf(this.#folder(name)));
    return names.filter((_, index) => stats[index]?.isDirectory);
  }

  /** All attachments. */
  async all(): Promise<readonly AttachmentRecord[]> {
    const read = (containerId: string) => this.ofContainer(containerId);
    return (await inParallel(await this.containers(), FOLDERS_AT_ONCE, read)).flat();
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

  /** Those of a container whose records were moved aside and have no successor. */
  async damaged(containerId: string): Promise<readonly DamagedAttachment[]> {
    const folder = this.#folder(containerId);
    const names = await listDir(folder);
    const last = new Map<string, DamagedAttachment>();
    for (const name of names) {
      const [, ifName, network, aside] = RECORD_NAME.exec(name) ?? [];
      if (!ifName || !network || !aside || names.includes(`${ifName}@${network}.json`)) continue;
      last.set(`${ifName}@${network}`, { containerId, ifName, network, file: `${folder}/${name}` });
    }
    return [...last.values()];
  }

  /** As {@linkcode damaged}, of all containers. */
  async allDamaged(): Promise<readonly DamagedAttachment[]> {
    const look = (containerId: string) => this.damaged(containerId);
    return (await inParallel(await this.containers(), FOLDERS_AT_ONCE, look)).flat();
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
    if (!await removeDirIfEmpty(this.#folder(key.containerId))) await this.removeAside(key);
  }

  /** Removes what was moved aside of an attachment, once it is detached or on record again. */
  async removeAside(key: AttachmentKey): Promise<void> {
    const folder = this.#folder(key.containerId);
    const aside = `${this.#path(key)}.bad-`;
    const files = (await listDir(folder)).map((name) => `${folder}/${name}`);
    for (const file of files.filter((file) => file.startsWith(aside))) await removeIfThere(file);
    await removeDirIfEmpty(folder);
  }

  /** Removes what writes of killed processes left among the container's records. */
  async removeUnfinished(containerId: string): Promise<void> {
    await removeUnfinished(this.#folder(containerId));
    await removeDirIfEmpty(this.#folder(containerId));
  }

  async #readFile(path: string, containerId: string): Promise<AttachmentRecord | undefined> {
    const text = await readTextIfThere(path);
    if (text === undefined) return undefined;
    try {
      const record = decode(await unseal(KIND, text));
      if (record.containerId === containerId && path === this.#path(record)) return record;
      throw new Error("it is of another attachment");
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#onBad({ file: path, movedTo: await setAside(path), reason });
      return undefined;
    }
  }

  #folder(containerId: string): string {
    return `${this.#dir}/${containerId}`;
  }

  #path({ containerId, network, ifName }: AttachmentKey): string {
    // A network name has no "@", so the last one parts the two however the interface is called.
    return `${this.#folder(containerId)}/${ifName}@${shortName(network)}.json`;
  }
}

function encode(record: AttachmentRecord): JsonObject {
  const { netnsId, nextTry, error, result, refusal, ...rest } = record;
  return {
    ...rest,
    ...(refusal === undefined ? {} : { refusal: { ...refusal } }),
    ...(netnsId === undefined ? {} : { netnsId }),
    ...(nextTry === undefined ? {} : { nextTry }),
    ...(error === undefined ? {} : { error }),
    ...(result === undefined ? {} : { result }),
  };
}

function decode(body: JsonObject): AttachmentRecord {
  return {
    containerId: textOf(body, "containerId"),
    network: textOf(body, "network"),
    ifName: textOf(body, "ifName"),
    state: wordOf(body, "state", ATTACHMENT_STATES),
    netns: textOf(body, "netns"),
    netnsId: optionalText(body, "netnsId"),
    ...(typeof body.netnsSince === "number" ? { netnsSince: body.netnsSince } : {}),
    owner: textOf(body, "owner"),
    since: textOf(body, "since"),
    bootId: textOf(body, "bootId"),
    sequence: numberOf(body.sequence ?? 0) ?? 0,
    attempts: numberOf(body.attempts ?? 0) ?? 0,
    nextTry: optionalText(body, "nextTry"),
    error: optionalObject(body, "error"),
    config: textOf(body, "config"),
    ...(body.cniVersion === undefined ? {} : { cniVersion: wordOf(body, "cniVersion", SPEC_VERSIONS) }),
    cniArgs: pairsOf(body),
    capabilityArgs: optionalObject(body, "capabilityArgs") ?? {},
    result: optionalObject(body, "result"),
    ...(typeof body.neverRan === "number" ? { neverRan: body.neverRan } : {}),
    ...refusalOf(body),
  };
}

/** One that is damaged is no reason to lose the record: the removal is then tried again. */
function refusalOf({ refusal }: JsonObject): Pick<AttachmentRecord, "refusal"> {
  if (!isObject(refusal)) return {};
  const { code, msg } = refusal;
  return typeof code === "number" && typeof msg === "string" ? { refusal: { code, msg } } : {};
}

function pairsOf(body: JsonObject): CniArgs {
  const pairs = body.cniArgs;
  if (!Array.isArray(pairs)) throw new Error('its "cniArgs" is not a list');
  return pairs.map((pair: Json) => {
    const [key, value] = Array.isArray(pair) ? pair : [];
    if (typeof key !== "string" || typeof value !== "string") throw new Error('a pair of "cniArgs" is bad');
    return [key, value] as const;
  });
}
