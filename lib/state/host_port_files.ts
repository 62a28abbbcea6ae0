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
import type { AttachmentKey } from "./attachment_key.ts";
import type { AttachmentStore } from "./attachment_store.ts";
import {
  type BadRecord,
  decodeChecksummed,
  newerRecord,
  printChecksummed,
  requireFile,
  UnusableRecord,
} from "./checksummed.ts";
import type { Shape } from "../cni/shape.ts";
import { hostPortsOf } from "./host_port.ts";
import {
  blockName,
  blockOf,
  byBlock,
  type Claim,
  type Claims,
  claimsBody,
  claimsFor,
  claimsOf,
  claimsOfPort,
  joined,
  lastOf,
  type PortBlock,
  type PortKey,
} from "./host_port_claim.ts";
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

/** The file with the claims of a block. */
export interface BlockFile extends Claims {
  readonly path: string;
  /** Files of single ports whose claims these are too. */
  readonly absorbed: readonly string[];
}

/** The files of single ports that earlier versions wrote, by the names of their blocks. */
export type PortFiles = ReadonlyMap<string, readonly PortKey[]>;

/** Whether a loss of power took a part of the text, or all of it. Nothing in the rest is worth keeping. */
function isCut(text: string): boolean {
  return text.includes("\0") || !text.endsWith("}\n");
}

const KIND = "podwire.ports.v1";
const PORT_KIND = "podwire.port.v1";
const BLOCK_NAME = /^([a-z][a-z0-9]{0,15})-(\d{1,5})-(\d{1,5})\.json$/;
const PORT_NAME = /^([a-z][a-z0-9]{0,15})-(\d{1,5})\.json$/;

/**
 * The claims of ports on disk, `<state-dir>/ports/<protocol>-<first>-<last>.json`. Each block of ports has a file, so that the time
 * of a look-up does not depend on the number of attachments, and a long range has few files. Files of single ports, as earlier
 * versions wrote them, are read, and go when their block is written. A damaged file is rebuilt from the records of the attachments.
 *
 * The caller holds the lock of the ports.
 */
export class HostPortFiles {
  #hasNoOlder = false;
  readonly #options: HostPortFilesOptions;
  readonly #dir: string;

  constructor(options: HostPortFilesOptions) {
    this.#options = options;
    this.#dir = `${options.stateDir}/ports`;
  }

  /**
   * Reads the claims of a block; `older` is what {@linkcode HostPortFiles.older} returns.
   *
   * @throws {CniError} kind `conflict` if a newer version wrote a file, or it is not a regular file
   */
  async open(block: PortBlock, older: PortFiles): Promise<BlockFile> {
    const name = blockName(block);
    const path = `${this.#dir}/${name}.json`;
    const file = await this.#read(path, KIND, claimsOf(block), () => this.#onRecord(block));
    const absorbed: string[] = [];
    const claims = [...file.claims];
    for (const port of older.get(name) ?? []) {
      const portPath = `${this.#dir}/${port.protocol}-${port.port}.json`;
      const onRecord = async () =>
        (await this.#onRecord(block)).filter(({ first, last }) => first <= port.port && port.port <= last)
          .map((claim) => ({ ...claim, first: port.port, last: port.port }));
      claims.push(...(await this.#read(portPath, PORT_KIND, claimsOfPort(port), onRecord)).claims);
      absorbed.push(portPath);
    }
    return { path, absorbed, ...file, claims: joined(claims) };
  }

  /** Same as {@linkcode open}; undefined if a newer version wrote the file, or it is not a regular file. */
  async openOwn(block: PortBlock, older: PortFiles): Promise<BlockFile | undefined> {
    try {
      return await this.open(block, older);
    } catch (error) {
      if (isCniError(error, "conflict")) return undefined;
      throw error;
    }
  }

  async #read(
    path: string,
    kind: string,
    shape: Shape<Claims>,
    onRecord: () => Promise<readonly Claim[]>,
  ): Promise<Claims> {
    let text: string | undefined;
    try {
      text = await readTextIfThere(path);
      return text === undefined ? { claims: [] } : await decodeChecksummed(kind, text, shape);
    } catch (error) {
      const { message: reason, isNewer } = UnusableRecord.of(error);
      if (isNewer) throw newerRecord(path, reason);
      await requireFile(path).catch((refusal) => {
        this.#options.onBad?.({ file: path, reason });
        throw refusal;
      });
      const claims = await onRecord();
      const movedTo = text !== undefined && isCut(text) ? {} : { movedTo: await setAside(path) };
      this.#options.onBad?.({ file: path, ...movedTo, reason });
      await this.#write(path, kind, claims);
      return { claims };
    }
  }

  /** Writes the claims of a block, and removes the file if there are none; then removes the files of single ports. */
  async write({ path, absorbed, claims, ...more }: BlockFile): Promise<void> {
    await this.#write(path, KIND, joined(claims), more);
    await withCniErrors(async () => {
      for (const older of absorbed) await removeIfThere(older);
    }, { file: path });
  }

  async #write(
    path: string,
    kind: string,
    claims: readonly Claim[],
    more: Omit<Claims, "claims"> = {},
  ): Promise<void> {
    await withCniErrors(async () => {
      if (claims.length === 0) return void await removeIfThere(path);
      await ensureDir(this.#dir, 0o700);
      const text = await printChecksummed(kind, claimsBody({ claims, ...more }));
      // A claim that a loss of power takes away was of a container that is gone too.
      await writeFileSynced(path, text, { durable: false });
    }, { file: path });
  }

  /** Returns the files of single ports. No more come once there are none: the number of the layout keeps earlier versions out. */
  async older(): Promise<PortFiles> {
    if (this.#hasNoOlder) return new Map();
    const ports = (await listDir(this.#dir)).flatMap((name) => {
      const [, protocol, port] = PORT_NAME.exec(name) ?? [];
      return protocol === undefined ? [] : [{ protocol, port: Number(port) }];
    });
    this.#hasNoOlder = ports.length === 0;
    return byBlock(ports);
  }

  /** Returns the blocks that have a file. */
  async blocks(): Promise<readonly PortBlock[]> {
    const names = await listDir(this.#dir);
    const blocks = names.flatMap((name): readonly PortBlock[] => {
      const [, protocol, first] = (BLOCK_NAME.exec(name) ?? PORT_NAME.exec(name)) ?? [];
      return protocol === undefined ? [] : [blockOf({ protocol, port: Number(first) })];
    });
    return [...new Map(blocks.map((block) => [blockName(block), block])).values()];
  }

  /** Removes the unfinished writes of killed processes. */
  async removeUnfinished(): Promise<void> {
    await removeUnfinished(this.#dir);
  }

  /** Returns the claims of a block according to the records of the attachments. */
  async #onRecord(block: PortBlock): Promise<readonly Claim[]> {
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
      claimsFor(
        key,
        hostPortsOf(capabilityArgs).filter(({ port, protocol }) =>
          protocol === block.protocol && port >= block.first && port <= lastOf(block)
        ),
      )
    );
  }
}
