import { isCniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import {
  ensureDir,
  listDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  writeFileSynced,
} from "../host/file.ts";
import { setAside } from "../host/set_aside.ts";
import { type AttachmentKey, attachmentKey } from "./attachment_key.ts";
import type { AttachmentStore } from "./attachment_store.ts";
import {
  type BadRecord,
  decodeChecksummed,
  newerRecord,
  printChecksummed,
  requireFile,
  UnusableRecord,
} from "./checksummed.ts";
import { hostPortsOf } from "./host_port.ts";
import { type Claim, type Claims, claimsBody, claimsOf, type PortKey } from "./host_port_claim.ts";
import { publishedOnRecord } from "./published_ports.ts";
import type { ResultCache } from "./result_cache.ts";

/** Dependencies of {@linkcode HostPortFiles}. */
export interface HostPortFilesOptions {
  readonly stateDir: string;
  readonly store: AttachmentStore;
  /** Has the ports of attachments whose records cannot be read. @default {their ports are unknown} */
  readonly cache?: Pick<ResultCache, "read"> | undefined;
  readonly onBad?: ((bad: BadRecord) => void) | undefined;
}

/** The file with the claims of one port. */
export interface PortFile extends Claims {
  readonly path: string;
}

/** Whether a loss of power took a part of the text, or all of it. Nothing in the rest is worth keeping. */
function isCut(text: string): boolean {
  return text.includes("\0") || !text.endsWith("}\n");
}

const KIND = "podwire.port.v1";
const FILE_NAME = /^([a-z][a-z0-9]{0,15})-(\d{1,5})\.json$/;

/**
 * The claims of ports on disk, `<state-dir>/ports/<protocol>-<port>.json`. Each port has a file, so that the time of a
 * look-up does not depend on the number of ports. A damaged file is rebuilt from the records of the attachments.
 *
 * The caller holds the lock of the ports.
 */
export class HostPortFiles {
  readonly #options: HostPortFilesOptions;
  readonly #dir: string;

  constructor(options: HostPortFilesOptions) {
    this.#options = options;
    this.#dir = `${options.stateDir}/ports`;
  }

  /**
   * Reads the claims of a port.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote the file, or it is not a regular file
   */
  async open(port: PortKey): Promise<PortFile> {
    const path = this.path(port);
    let text: string | undefined;
    try {
      text = await readTextIfThere(path);
      if (text === undefined) return { path, claims: [] };
      return { path, ...await decodeChecksummed(KIND, text, claimsOf(port)) };
    } catch (error) {
      const { message: reason, isNewer } = UnusableRecord.of(error);
      if (isNewer) throw newerRecord(path, reason);
      await requireFile(path).catch((refusal) => {
        this.#options.onBad?.({ file: path, reason });
        throw refusal;
      });
      const file = { path, claims: await this.#onRecord(port) };
      const movedTo = text !== undefined && isCut(text) ? {} : { movedTo: await setAside(path) };
      this.#options.onBad?.({ file: path, ...movedTo, reason });
      await this.write(file);
      return file;
    }
  }

  /** Same as {@linkcode open}; undefined if a newer version wrote the file, or it is not a regular file. */
  async openOwn(port: PortKey): Promise<PortFile | undefined> {
    try {
      return await this.open(port);
    } catch (error) {
      if (isCniError(error, "conflict")) return undefined;
      throw error;
    }
  }

  /** Writes the claims of a port, and removes the file if there are none. */
  async write({ path, claims, ...more }: PortFile): Promise<void> {
    await withCniErrors(async () => {
      if (claims.length === 0) return void await removeIfThere(path);
      await ensureDir(this.#dir, 0o700);
      const text = await printChecksummed(KIND, claimsBody({ claims, ...more }));
      // A claim that a loss of power takes away was of a container that is gone too.
      await writeFileSynced(path, text, { durable: false });
    }, { file: path });
  }

  /** Returns the ports that have a file. */
  async ports(): Promise<readonly PortKey[]> {
    return (await listDir(this.#dir)).flatMap((name) => {
      const [, protocol, port] = FILE_NAME.exec(name) ?? [];
      return protocol === undefined ? [] : [{ protocol, port: Number(port) }];
    });
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  /** Returns the file of a port. */
  path({ protocol, port }: PortKey): string {
    return `${this.#dir}/${protocol}-${port}.json`;
  }

  /** Returns the claims of a port according to the records of the attachments. */
  async #onRecord({ port, protocol }: PortKey): Promise<readonly Claim[]> {
    const { store, cache } = this.#options;
    const { records, damaged } = await store.scanAll();
    const all: (readonly [AttachmentKey, JsonObject])[] = records.map((record) =>
      [record, publishedOnRecord(record)] as const
    );
    for (const each of damaged) {
      const entry = await cache?.read(each).catch(() => undefined);
      if (entry !== undefined) all.push([entry, entry.capabilityArgs]);
    }
    return all.flatMap(([key, capabilityArgs]) =>
      hostPortsOf(capabilityArgs)
        .filter((claimed) => claimed.port === port && claimed.protocol === protocol)
        .map((claimed) => ({ ...claimed, key: attachmentKey(key) }))
    );
  }
}
