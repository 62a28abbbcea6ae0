import { listDir, listDirsIn, statOwn } from "../host/file.ts";
import type { AttachmentKey } from "./attachment_key.ts";
import { shortName } from "./short_name.ts";

/** The attachments at one moment. */
export interface AttachmentIndex {
  readonly count: number;
  readonly ofNetwork: (network: string) => readonly AttachmentKey[];
}

/** What the name of a record's file says. */
export interface RecordFileName {
  readonly ifName: string;
  /** The network as `shortName` gives it. */
  readonly network: string;
  /** Whether the record was moved aside. */
  readonly isAside: boolean;
}

/** What the name of a file and that of its folder say; the network is a part of a name. */
interface FoundFile {
  readonly containerId: string;
  readonly ifName: string;
  readonly part: string;
}

const RECORD_NAME = /^(.+)@([^@]+)\.json(\.bad-\d+)?$/;
/** Where the records of attachments are, and what the names of their files say. Reads no record. */
export class AttachmentFiles {
  readonly #dir: string;
  /** The path of one record of each network that was asked for. */
  readonly #lastOf = new Map<string, string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Returns the folder of a container's records. */
  folder(containerId: string): string {
    return `${this.#dir}/${containerId}`;
  }

  /** Returns the file of an attachment's record. */
  path({ containerId, network, ifName }: AttachmentKey): string {
    // A network name has no "@", so the last "@" separates the two, whatever the interface is called.
    return `${this.folder(containerId)}/${ifName}@${shortName(network)}.json`;
  }

  /** Returns the containers that have a folder. */
  async containers(): Promise<readonly string[]> {
    return await listDirsIn(this.#dir);
  }

  /** Whether the network has an attachment. Looks first at the one found last, and at all folders only if that is gone. */
  async hasNetwork(network: string): Promise<boolean> {
    const last = this.#lastOf.get(network);
    if (last !== undefined && await statOwn(last) !== undefined) return true;
    const ending = `@${shortName(network)}.json`;
    let found: string | undefined;
    for (const containerId of await this.containers()) {
      const folder = this.folder(containerId);
      const name = (await listDir(folder)).find((name) => name.endsWith(ending));
      if (name === undefined) continue;
      found = `${folder}/${name}`;
      break;
    }
    if (found === undefined) this.#lastOf.delete(network);
    else this.#lastOf.set(network, found);
    return found !== undefined;
  }

  /** Returns the attachments of all networks, including those whose record cannot be read. */
  async index(): Promise<AttachmentIndex> {
    const found: FoundFile[] = [];
    for (const containerId of await this.containers()) {
      const all = new Map<string, FoundFile>();
      for (const name of await listDir(this.folder(containerId))) {
        const file = parseFileName(name);
        if (file === undefined) continue;
        const { ifName, network: part } = file;
        all.set(`${ifName}@${part}`, { containerId, ifName, part });
      }
      found.push(...all.values());
    }
    const byPart = Map.groupBy(found, ({ part }) => part);
    return {
      count: found.length,
      ofNetwork: (network) =>
        (byPart.get(shortName(network)) ?? []).map(({ containerId, ifName }) => ({
          containerId,
          network,
          ifName,
        })),
    };
  }
}

/** Reads the name of a record's file; undefined for another file. */
export function parseFileName(name: string): RecordFileName | undefined {
  const [, ifName, network, aside] = RECORD_NAME.exec(name) ?? [];
  return ifName && network ? { ifName, network, isAside: aside !== undefined } : undefined;
}
