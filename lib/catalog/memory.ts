import {
  ensureDir,
  readTextIfThere,
  removeUnfinished,
  setAside,
  statOf,
  writeFileSynced,
} from "../host/file.ts";
import { identityOf } from "../host/listing.ts";
import { waitForLock } from "../host/lock_wait.ts";
import type { Logger } from "../host/log.ts";
import { missingFlags } from "../host/permissions.ts";
import { decodeChecksummed, printChecksummed, UnusableRecord } from "../state/checksummed.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Json, JsonObject } from "../cni/json.ts";
import { anyText, flag, lenient, mapOf, mapped, openObjectOf, type Shape } from "../cni/shape.ts";
import type { DefaultPin } from "./default_network.ts";

/** The last version of a file that could be used. */
export interface GoodVersion {
  /** The network with the plugins of its folder, as text. */
  readonly text: string;
  /** When it was first read, ISO 8601. */
  readonly since: string;
  /** When the file was first found bad, ISO 8601. @default {undefined} (it is good) */
  readonly badSince?: string;
}

/** What is remembered of a configuration directory. */
export interface Remembered {
  /** By the name of the file. */
  readonly files: ReadonlyMap<string, GoodVersion>;
  readonly pin: DefaultPin | undefined;
  /** Whether a network of a file was in force at any time, be it of one that is gone. */
  readonly hadFiles: boolean;
}

/** Options of {@linkcode CatalogMemory}. */
export interface CatalogMemoryOptions {
  /** Where the records are. @default {undefined} (nothing outlives the process) */
  readonly stateDir: string | undefined;
  /** The directory that this is about, as an absolute path. */
  readonly confDir: string;
  /** Whether what is new is written; else it lives as long as the process. @default {true} */
  readonly writes?: boolean | undefined;
  readonly log: Logger;
}

/** Nothing depends on what is remembered so much that a process which hangs with the lock could hold up a command. */
const LOCK_MS = 2_000;
const KIND = "podwire.catalog.v1";
const NOTHING: Remembered = { files: new Map(), pin: undefined, hadFiles: false };

/**
 * What has to outlive the process: the last good version of each file, and the default network,
 * `<state-dir>/catalogs/<hash of the directory's path>.json`. Where that may not be read or written, it lives as long
 * as the process.
 */
export class CatalogMemory {
  readonly #options: CatalogMemoryOptions;
  #path: string | undefined;
  #now = NOTHING;
  /** Of the file that `#now` was read from or written to. */
  #identity: string | undefined;
  #isUnsaved = false;
  /** Why the file is not used, if it is not. */
  #unusable: UnusableRecord | undefined;
  #complained = false;

  constructor(options: CatalogMemoryOptions) {
    this.#options = options;
  }

  /** What is remembered now, by whatever process. */
  async recall(): Promise<Remembered> {
    const path = await this.#file();
    if (path === undefined || !await isGranted({ read: [path] })) return this.#now;
    try {
      const stat = await statOf(path);
      const identity = stat && identityOf(stat);
      if (identity === undefined || identity === this.#identity) return this.#now;
      this.#unusable = undefined;
      const there = await this.#read(path);
      this.#identity = identity;
      if (there !== undefined) this.#now = this.#isUnsaved ? merged(there, this.#now) : there;
    } catch (error) {
      this.#complain(error, "what is remembered of the configuration directory cannot be read");
    }
    return this.#now;
  }

  /**
   * Remembers what `change` makes of what is remembered; it gives the same object where that is nothing new, and may be
   * called twice.
   */
  async keep(change: (now: Remembered) => Promise<Remembered>, signal?: AbortSignal): Promise<void> {
    const before = await this.recall();
    const next = await change(before);
    if (next === before && !this.#isUnsaved) return;
    if (!(this.#options.writes ?? true)) {
      this.#now = next;
      return;
    }
    const path = await this.#file();
    const dir = path?.slice(0, path.lastIndexOf("/"));
    try {
      if (path === undefined || dir === undefined || !await isGranted({ read: [dir], write: [dir] })) {
        this.#now = next;
        return;
      }
      await ensureDir(dir, 0o700);
      using _lock = await waitForLock(dir, {
        what: "the lock of what is remembered",
        limitMs: LOCK_MS,
        signal,
      });
      await removeUnfinished(dir);
      await this.#save(path, change);
    } catch (error) {
      signal?.throwIfAborted();
      this.#now = next;
      this.#isUnsaved = true;
      this.#complain(error, "what is known of the configuration directory cannot be remembered");
    }
  }

  async #save(path: string, change: (now: Remembered) => Promise<Remembered>): Promise<void> {
    // Another process may have been here since.
    const before = await this.recall();
    const next = await change(before);
    if (this.#unusable?.isNewer) {
      // It is not ours to write: what is known lives as long as the process.
      this.#now = next;
      return;
    }
    if (next !== before || this.#isUnsaved) {
      if (this.#unusable !== undefined) await this.#makeRoom(path);
      await writeFileSynced(path, await printChecksummed(KIND, encode(this.#options.confDir, next)));
      const stat = await statOf(path);
      this.#identity = stat && identityOf(stat);
    }
    this.#now = next;
    this.#isUnsaved = false;
    this.#complained = false;
  }

  async #makeRoom(path: string): Promise<void> {
    const movedTo = await setAside(path);
    this.#unusable = undefined;
    this.#options.log.warn("a record could not be read and was moved aside", { file: path, movedTo });
  }

  async #read(path: string): Promise<Remembered | undefined> {
    try {
      const text = await readTextIfThere(path);
      if (text === undefined) return undefined;
      return await decodeChecksummed(KIND, text, SHAPE);
    } catch (error) {
      this.#unusable = UnusableRecord.of(error);
      const { message, isNewer } = this.#unusable;
      const words = isNewer ? "is of a newer version of podwire" : "cannot be read";
      this.#options.log.warn(`a record ${words}, and is left as it is: ${message}`, { file: path });
      return undefined;
    }
  }

  async #file(): Promise<string | undefined> {
    const { stateDir, confDir } = this.#options;
    if (this.#path === undefined && stateDir !== undefined) {
      const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(confDir));
      this.#path = `${stateDir}/catalogs/${new Uint8Array(digest).toHex().slice(0, 32)}.json`;
    }
    return this.#path;
  }

  /** Said once: it is tried again with each reading. Who is not root need not be told so. */
  #complain(error: unknown, msg: string): void {
    const failure = asCniError(error);
    if (this.#complained || failure.kind === "permission") return;
    this.#complained = true;
    this.#options.log.warn(`${msg}: ${failure.msg}`, { confDir: this.#options.confDir });
  }
}

/** What this process could not write yet is newer than what it finds. */
function merged(there: Remembered, own: Remembered): Remembered {
  return {
    files: new Map([...there.files, ...own.files]),
    pin: own.pin ?? there.pin,
    hadFiles: own.hadFiles || there.hadFiles,
  };
}

async function isGranted(
  wanted: { readonly read?: string[] | undefined; readonly write?: string[] | undefined },
): Promise<boolean> {
  return (await missingFlags(wanted)).length === 0;
}

function encode(confDir: string, { files, pin, hadFiles }: Remembered): JsonObject {
  const good = [...files].map(([name, version]): [string, Json] => [name, { ...version }]);
  return {
    confDir,
    files: Object.fromEntries(good),
    ...(pin === undefined ? {} : { pin: { ...pin } }),
    ...(hadFiles ? { hadFiles } : {}),
  };
}

const SHAPE: Shape<Remembered> = mapped(
  openObjectOf({}, {
    files: mapOf(openObjectOf({ text: anyText, since: anyText }, { badSince: anyText })),
    pin: openObjectOf({ network: anyText, file: anyText, since: anyText }, {}),
    hadFiles: lenient(flag),
  }),
  ({ files = {}, pin, hadFiles = false }) => ({
    files: new Map(Object.entries(files)),
    pin,
    // Earlier versions wrote no such member, and pinned networks of files only.
    hadFiles: hadFiles || Object.keys(files).length > 0 || pin !== undefined,
  }),
);
