import type { Json, JsonObject } from "../cni/json.ts";
import { anyText, flag, lenient, mapOf, mapped, openObjectOf, type Shape } from "../cni/shape.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { ensureDir, readTextIfThere, removeUnfinished, statOwn, writeFileSynced } from "../host/file.ts";
import { setAside } from "../host/set_aside.ts";
import { identityOf } from "../host/listing.ts";
import { waitForLock } from "../host/lock_wait.ts";
import type { Logger } from "../host/log.ts";
import { missingFlags } from "../host/permissions.ts";
import { decodeChecksummed, printChecksummed, UnusableRecord } from "../state/checksummed.ts";
import type { DefaultPin } from "./default_network.ts";

/** The last usable content of a file. */
export interface GoodVersion {
  /** The network with the plugins of its folder, as text. */
  readonly text: string;
  /** When it was first read, ISO 8601. */
  readonly since: string;
  /** When the file was first found unusable, ISO 8601. @default {undefined} (it is usable) */
  readonly badSince?: string;
}

/** What is remembered about a configuration directory. */
export interface Remembered {
  /** By the name of the file. */
  readonly files: ReadonlyMap<string, GoodVersion>;
  readonly pin: DefaultPin | undefined;
  /** Whether a network of a file that `network create` had not made was ever in use, also if the file is gone now. */
  readonly hadFiles: boolean;
}

/** Options of {@linkcode CatalogMemory}. */
export interface CatalogMemoryOptions {
  /** The state directory. @default {undefined} (nothing outlives the process) */
  readonly stateDir: string | undefined;
  /** The configuration directory, as an absolute path. */
  readonly confDir: string;
  /** Whether changes are written; otherwise they are lost with the process. @default {true} */
  readonly writes?: boolean | undefined;
  readonly log: Logger;
}

/** The wait for the lock is short: a process that hangs with the lock must not delay a command. */
const LOCK_MS = 2_000;
const KIND = "podwire.catalog.v1";
const NOTHING: Remembered = { files: new Map(), pin: undefined, hadFiles: false };

/**
 * Keeps what has to outlive the process, the last usable content of each file and the default network, in
 * `<state-dir>/catalogs/<hash of the directory's path>.json`. If that file may not be read or written, the memory lasts as
 * long as the process.
 */
export class CatalogMemory {
  readonly #options: CatalogMemoryOptions;
  #path: string | undefined;
  #now = NOTHING;
  /** The identity of the file that `#now` was read from or written to. */
  #identity: string | undefined;
  #isUnsaved = false;
  /** Why the file cannot be used; undefined if it can. */
  #unusable: UnusableRecord | undefined;
  #hasWarned = false;

  constructor(options: CatalogMemoryOptions) {
    this.#options = options;
  }

  /** Returns what is remembered now; another process may have written it. */
  async recall(): Promise<Remembered> {
    const path = await this.#file();
    if (path === undefined || !isGranted({ read: [path] })) return this.#now;
    try {
      const stat = await statOwn(path);
      const identity = stat && identityOf(stat);
      if (identity === undefined || identity === this.#identity) return this.#now;
      this.#unusable = undefined;
      const onDisk = await this.#read(path);
      this.#identity = identity;
      if (onDisk !== undefined) this.#now = this.#isUnsaved ? merged(onDisk, this.#now) : onDisk;
    } catch (error) {
      this.#warnOnce(error, "the memory of the configuration directory cannot be read");
    }
    return this.#now;
  }

  /**
   * Remembers what `change` returns for what is remembered now. `change` returns the same object if nothing has changed. It
   * may be called twice.
   */
  async update(change: (now: Remembered) => Promise<Remembered>, signal?: AbortSignal): Promise<void> {
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
      if (path === undefined || dir === undefined || !isGranted({ read: [dir], write: [dir] })) {
        this.#now = next;
        return;
      }
      await ensureDir(dir, 0o700);
      using _lock = await waitForLock(dir, {
        what: "the lock of the remembered catalog",
        limitMs: LOCK_MS,
        signal,
      });
      await removeUnfinished(dir);
      await this.#save(path, change);
    } catch (error) {
      signal?.throwIfAborted();
      this.#now = next;
      this.#isUnsaved = true;
      this.#warnOnce(error, "the memory of the configuration directory cannot be written");
    }
  }

  async #save(path: string, change: (now: Remembered) => Promise<Remembered>): Promise<void> {
    // Another process may have written since.
    const before = await this.recall();
    const next = await change(before);
    if (this.#unusable?.isNewer) {
      // The file of a newer version is not overwritten: the memory lasts as long as the process.
      this.#now = next;
      return;
    }
    if (next !== before || this.#isUnsaved) {
      if (this.#unusable !== undefined) await this.#moveAside(path);
      await writeFileSynced(path, await printChecksummed(KIND, encode(this.#options.confDir, next)));
      const stat = await statOwn(path);
      this.#identity = stat && identityOf(stat);
    }
    this.#now = next;
    this.#isUnsaved = false;
    this.#hasWarned = false;
  }

  async #moveAside(path: string): Promise<void> {
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
      const problem = isNewer ? "is of a newer version of podwire" : "cannot be read";
      this.#options.log.warn(`a record ${problem}, and is left as it is: ${message}`, { file: path });
      return undefined;
    }
  }

  async #file(): Promise<string | undefined> {
    const { stateDir, confDir } = this.#options;
    if (this.#path === undefined && stateDir !== undefined) {
      const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(confDir));
      this.#path = `${catalogsDir(stateDir)}/${new Uint8Array(digest).toHex().slice(0, 32)}.json`;
    }
    return this.#path;
  }

  /** Logs a warning once, although each reading tries again. A missing permission is not logged: the user may not be root. */
  #warnOnce(error: unknown, msg: string): void {
    const failure = asCniError(error);
    if (this.#hasWarned || failure.kind === "permission") return;
    this.#hasWarned = true;
    this.#options.log.warn(`${msg}: ${failure.msg}`, { confDir: this.#options.confDir });
  }
}

/** Returns the folder of what is remembered of configuration directories. */
export function catalogsDir(stateDir: string): string {
  return `${stateDir}/catalogs`;
}

/** Merges what is on disk with what this process could not write yet, which is newer. */
function merged(onDisk: Remembered, own: Remembered): Remembered {
  return {
    files: new Map([...onDisk.files, ...own.files]),
    pin: own.pin ?? onDisk.pin,
    hadFiles: own.hadFiles || onDisk.hadFiles,
  };
}

function isGranted(
  wanted: { readonly read?: string[] | undefined; readonly write?: string[] | undefined },
): boolean {
  return missingFlags(wanted).length === 0;
}

function encode(confDir: string, { files, pin, hadFiles }: Remembered): JsonObject {
  const good = [...files].map(([name, version]): [string, Json] => [name, { ...version }]);
  return {
    confDir,
    files: Object.fromEntries(good),
    ...(pin === undefined ? {} : { pin: { ...pin } }),
    hadFiles,
  };
}

const SHAPE: Shape<Remembered> = mapped(
  openObjectOf({}, {
    files: mapOf(openObjectOf({ text: anyText, since: anyText }, { badSince: anyText })),
    pin: openObjectOf({ network: anyText, file: anyText, since: anyText }, {}),
    hadFiles: lenient(flag),
  }),
  ({ files = {}, pin, hadFiles }) => ({
    files: new Map(Object.entries(files)),
    pin,
    // Earlier versions did not write this member, and pinned only networks of files.
    hadFiles: hadFiles ?? (Object.keys(files).length > 0 || pin !== undefined),
  }),
);
