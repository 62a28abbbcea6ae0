import {
  ensureDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  writeFileSynced,
} from "../host/file.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import { isObject, type Json, type JsonObject, parseJson, printJson } from "../spec/json.ts";

/** An attachment as libcni remembers it. */
export interface CachedAttachment {
  readonly containerId: string;
  readonly network: string;
  readonly ifName: string;
  readonly netns: string;
  /** The configuration that was in force, as text. */
  readonly config: string;
  readonly cniArgs: CniArgs;
  readonly capabilityArgs: JsonObject;
  readonly result: JsonObject | undefined;
}

/** Which attachment an entry is of. */
type CacheKey = Pick<CachedAttachment, "containerId" | "network" | "ifName">;

const KIND = "cniCacheV1";

/**
 * libcni's cache of results, `<cache-dir>/results/<network>-<containerID>-<ifName>`, so that a Go
 * runtime can check and delete what podwire attached, and the other way round.
 *
 * The names are ambiguous ("-" is legal in all three parts), so what a file says of itself decides.
 *
 * Permissions: `--allow-read` and `--allow-write` for the cache directory.
 */
export class ResultCache {
  readonly #dir: string;

  constructor(cacheDir: string) {
    this.#dir = `${cacheDir}/results`;
  }

  /** Writes, or replaces, the entry. */
  async write(entry: CachedAttachment): Promise<void> {
    await ensureDir(this.#dir, 0o700);
    await writeFileSynced(this.#path(entry), printJson(encode(entry)));
  }

  /** The entry of exactly that attachment, if there is a readable one. */
  async read(key: CacheKey): Promise<CachedAttachment | undefined> {
    const text = await readTextIfThere(this.#path(key));
    const entry = text === undefined ? undefined : decode(text);
    return entry !== undefined && isSame(entry, key) ? entry : undefined;
  }

  /** Removes the entry, unless the file of that name belongs to another attachment. */
  async remove(key: CacheKey): Promise<void> {
    const text = await readTextIfThere(this.#path(key));
    if (text === undefined) return;
    const entry = decode(text);
    if (entry === undefined || isSame(entry, key)) await removeIfThere(this.#path(key));
  }

  /** Removes what writes of killed processes left among the entries. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  #path({ network, containerId, ifName }: CacheKey) {
    return `${this.#dir}/${network}-${containerId}-${ifName}`;
  }
}

function isSame(
  a: CacheKey,
  b: CacheKey,
): boolean {
  return a.containerId === b.containerId && a.network === b.network && a.ifName === b.ifName;
}

function encode(entry: CachedAttachment): JsonObject {
  return {
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
}

function decode(text: string): CachedAttachment | undefined {
  let json: Json;
  try {
    json = parseJson(text);
  } catch {
    // libcni writes in place: after a crash an entry can be empty or cut.
    return undefined;
  }
  if (!isObject(json) || json.kind !== KIND) return undefined;
  const { containerId, networkName, ifName, config, netns, cniArgs, capabilityArgs, result } = json;
  if (typeof containerId !== "string" || typeof networkName !== "string" || typeof ifName !== "string") {
    return undefined;
  }
  return {
    containerId,
    network: networkName,
    ifName,
    netns: typeof netns === "string" ? netns : "",
    config: typeof config === "string" ? fromBase64(config) : "",
    cniArgs: pairs(cniArgs),
    capabilityArgs: isObject(capabilityArgs) ? capabilityArgs : {},
    result: isObject(result) ? result : undefined,
  };
}

function pairs(json: Json | undefined): CniArgs {
  if (!Array.isArray(json)) return [];
  return json.flatMap((pair: Json) => {
    const [key, value] = Array.isArray(pair) ? pair : [];
    return typeof key === "string" && typeof value === "string" ? [[key, value] as const] : [];
  });
}

function toBase64(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}

function fromBase64(text: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.fromBase64(text));
  } catch {
    return "";
  }
}
