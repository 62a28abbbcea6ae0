import { turnIfDue } from "../async/breathe.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { isObject, type Json, type JsonObject, parseJson } from "../cni/json.ts";
import { printSorted } from "../cni/libcni_text.ts";
import { anyObject, anyText, mapped, oneOf, openObjectOf, orNull } from "../cni/shape.ts";
import {
  inEnsuredDir,
  listFilesIn,
  readTextIfThere,
  readTextNow,
  removeIfThere,
  removeUnfinished,
  statOf,
  UnreadableFileError,
  writeFileSynced,
} from "../host/file.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import { type AttachmentKey, isSameAttachment } from "./attachment_key.ts";
import { CNI_ARGS } from "./attachment_record.ts";

/** An attachment as libcni's cache has it. */
export interface CachedAttachment extends AttachmentKey {
  readonly netns: string;
  /** The effective configuration, as text. */
  readonly config: string;
  readonly cniArgs: CniArgs;
  readonly capabilityArgs: JsonObject;
  readonly result: JsonObject | undefined;
}

/** A file of the cache that does not name its attachment. */
export interface UnknownEntry {
  readonly name: string;
  readonly path: string;
  readonly reason: string;
}

/** All files of the cache, in byte order of their names. */
export interface CacheListing {
  readonly entries: readonly CachedAttachment[];
  /** The entries by the names of their files. */
  readonly named: ReadonlyMap<string, CachedAttachment>;
  readonly unknown: readonly UnknownEntry[];
}

const KIND = "cniCacheV1";
/** NAME_MAX of Linux. */
const LONGEST_FILE_NAME = 255;

/**
 * libcni's cache of results, `<cache-dir>/results/<network>-<containerID>-<ifName>`. With it a Go runtime can check and
 * delete what podwire attached, and podwire what a Go runtime attached.
 *
 * The file names are ambiguous ("-" is legal in all three parts), so the content of a file decides.
 *
 * Permissions: `--allow-read` and `--allow-write` for the cache directory.
 */
export class ResultCache {
  /** The folder of the entries. */
  readonly dir: string;

  constructor(cacheDir: string) {
    this.dir = `${cacheDir}/results`;
  }

  /**
   * Writes, or replaces, the entry.
   *
   * @throws {CniError} as {@linkcode requireFree}
   */
  async write(entry: CachedAttachment): Promise<void> {
    await this.requireFree(entry);
    // As with libcni. After a loss of power the record of the attachment is enough to detach it.
    const write = () => writeFileSynced(this.#path(entry), encode(entry), { durable: false });
    await inEnsuredDir(this.dir, 0o700, write);
  }

  /**
   * Returns the entry of exactly that attachment; undefined if there is none.
   *
   * @throws {CniError} kind `io`, code 6, if the file is not a valid entry
   */
  async read(key: AttachmentKey): Promise<CachedAttachment | undefined> {
    const path = this.#path(key);
    const text = isTooLong(key) ? undefined : await readTextIfThere(path);
    if (text === undefined) return undefined;
    try {
      const entry = decode(text, key);
      return isSameAttachment(entry, key) ? entry : undefined;
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const code = ERROR_CODES.decodingFailure;
      throw new CniError("io", `the cached result ${path} cannot be read: ${reason}`, { code, cause });
    }
  }

  /**
   * Refuses an attachment whose entry would replace that of another one, or could not be written.
   *
   * @throws {CniError} kind `conflict`, or `usage` if its names are too long for one of a file
   */
  async requireFree(key: AttachmentKey): Promise<void> {
    const path = this.#path(key);
    if (isTooLong(key)) {
      throw new CniError("usage", "the names of network, container and interface together are too long", {
        details: `they have to make a file name of at most ${LONGEST_FILE_NAME} bytes: ${fileName(key)}`,
      });
    }
    const text = await readTextIfThere(path);
    const entry = text === undefined ? undefined : decodeIfWhole(text, key);
    if (entry === undefined || isSameAttachment(entry, key)) return;
    const { network, containerId, ifName } = entry;
    throw new CniError("conflict", `${path} is the cached result of another attachment`, {
      details: `of container "${containerId}" to network "${network}" as "${ifName}"`,
      hint: "use another container ID or network name",
    });
  }

  /** Whether there is an entry, readable or not, that is not another attachment's. */
  async has(key: AttachmentKey): Promise<boolean> {
    const text = isTooLong(key) ? undefined : await this.#textIfFile(this.#path(key));
    if (text === undefined) return false;
    const entry = decodeIfWhole(text, key);
    return entry === undefined || isSameAttachment(entry, key);
  }

  /** Returns undefined for something that is not a file: no runtime wrote it. */
  async #textIfFile(path: string): Promise<string | undefined> {
    try {
      return await readTextIfThere(path);
    } catch (error) {
      if (error instanceof UnreadableFileError && (await statOf(path))?.isFile !== true) return undefined;
      throw error;
    }
  }

  /** Removes the entry, unless the file of that name belongs to another attachment. */
  async remove(key: AttachmentKey): Promise<void> {
    if (await this.has(key)) await removeIfThere(this.#path(key));
  }

  /**
   * Returns everything in the cache. The content of a file names its attachment, the name of the file does not matter.
   * Folders are skipped. Entries of an earlier listing are not read again.
   *
   * @throws if the folder cannot be read; a file that cannot be read is listed as unknown
   */
  async list(earlier?: CacheListing): Promise<CacheListing> {
    // The name of an unfinished file begins with a dot. No name of a network does.
    const names = (await listFilesIn(this.dir)).filter((name) => !name.startsWith("."));
    const named = new Map<string, CachedAttachment>();
    const unknown: UnknownEntry[] = [];
    for (const name of names) {
      const turn = turnIfDue();
      if (turn !== undefined) await turn;
      const file = earlier?.named.get(name) ?? await this.#readNamed(name);
      if (file === undefined) continue;
      if ("reason" in file) unknown.push(file);
      else named.set(name, file);
    }
    return { entries: [...named.values()], named, unknown };
  }

  async #readNamed(name: string): Promise<CachedAttachment | UnknownEntry | undefined> {
    const path = `${this.dir}/${name}`;
    try {
      const text = readTextNow(path) ?? await readTextIfThere(path);
      return text === undefined ? undefined : decodeNamed(text);
    } catch (cause) {
      return { name, path, reason: cause instanceof Error ? cause.message : String(cause) };
    }
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.dir);
  }

  #path(key: AttachmentKey) {
    return `${this.dir}/${fileName(key)}`;
  }
}

function fileName({ network, containerId, ifName }: AttachmentKey): string {
  return `${network}-${containerId}-${ifName}`;
}

/** No runtime can have written such an entry. */
function isTooLong(key: AttachmentKey): boolean {
  return new TextEncoder().encode(fileName(key)).length > LONGEST_FILE_NAME;
}

/** Returns the bytes that libcni writes: the members in this order, and the members of their values sorted. */
function encode(entry: CachedAttachment): string {
  const members: Readonly<Record<string, Json>> = {
    kind: KIND,
    containerId: entry.containerId,
    config: toBase64(entry.config),
    ifName: entry.ifName,
    networkName: entry.network,
    ...(entry.netns === "" ? {} : { netns: entry.netns }),
    ...(entry.cniArgs.length === 0 ? {} : { cniArgs: entry.cniArgs }),
    ...(Object.keys(entry.capabilityArgs).length === 0 ? {} : { capabilityArgs: entry.capabilityArgs }),
    ...(entry.result === undefined ? {} : { result: entry.result }),
  };
  return `{${Object.entries(members).map(([key, value]) => `"${key}":${printSorted(value)}`).join()}}`;
}

/** libcni writes in place: after a crash an entry can be empty or cut. */
function decodeIfWhole(text: string, key: AttachmentKey): CachedAttachment | undefined {
  try {
    return decode(text, key);
  } catch {
    return undefined;
  }
}

function decode(text: string, key: AttachmentKey): CachedAttachment {
  const json = readObject(text);
  return isBareResult(json) ? { ...key, ...NOTHING_ELSE, result: json } : decodeEntry(json);
}

/** Reads an entry that names its attachment. */
function decodeNamed(text: string): CachedAttachment {
  const entry = decodeEntry(readObject(text));
  if (entry.containerId !== "" && entry.network !== "" && entry.ifName !== "") return entry;
  throw new Error("it does not name its attachment");
}

function readObject(text: string): JsonObject {
  const json = parseJson(text);
  if (isObject(json)) return json;
  throw new Error("it is not a JSON object");
}

function decodeEntry(json: JsonObject): CachedAttachment {
  const { containerId, networkName, ifName, netns = "", config = "", ...rest } = ENTRY.read(json, []);
  const { cniArgs = [], capabilityArgs = {}, result } = rest;
  return { containerId, network: networkName, ifName, netns, config, cniArgs, capabilityArgs, result };
}

const ENTRY = openObjectOf({
  kind: oneOf([KIND]),
  containerId: anyText,
  networkName: anyText,
  ifName: anyText,
  config: orNull(mapped(anyText, fromBase64)),
}, {
  netns: anyText,
  cniArgs: orNull(CNI_ARGS),
  capabilityArgs: anyObject,
  result: anyObject,
});

const NOTHING_ELSE = { netns: "", config: "", cniArgs: [], capabilityArgs: {} } as const;
const RESULT_MEMBERS = ["cniVersion", "interfaces", "ips", "ip4", "ip6"];

/** Whether an old release of libcni wrote it: the result alone, which does not name its attachment. */
function isBareResult(json: JsonObject): boolean {
  return json.kind === undefined && RESULT_MEMBERS.some((key) => json[key] !== undefined);
}

const DECODER = new TextDecoder();

function toBase64(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}

function fromBase64(text: string): string {
  return DECODER.decode(Uint8Array.fromBase64(text));
}
