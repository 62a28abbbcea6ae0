import { inParallel } from "../async/parallel.ts";
import { listDir, statOf } from "../host/file.ts";
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

const RECORD_NAME = /^(.+)@([^@]+)\.json(\.bad-\d+)?$/;
/** Enough to keep all of the threads busy that Deno has for files. */
const FOLDERS_AT_ONCE = 16;

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
    const names = await listDir(this.#dir);
    const stats = await inParallel(names, FOLDERS_AT_ONCE, (name) => statOf(this.folder(name)));
    return names.filter((_, index) => stats[index]?.isDirectory);
  }

  /** Whether the network has an attachment. Looks first at the one found last, and at all folders only if that is gone. */
  async hasNetwork(network: string): Promise<boolean> {
    const last = this.#lastOf.get(network);
    if (last !== undefined && await statOf(last) !== undefined) return true;
    const ending = `@${shortName(network)}.json`;
    let found: string | undefined;
    await inParallel(await listDir(this.#dir), FOLDERS_AT_ONCE, async (containerId) => {
      const folder = this.folder(containerId);
      if (found !== undefined || !(await statOf(folder))?.isDirectory) return;
      const name = (await listDir(folder)).find((name) => name.endsWith(ending));
      if (name !== undefined) found = `${folder}/${name}`;
    });
    if (found === undefined) this.#lastOf.delete(network);
    else this.#lastOf.set(network, found);
    return found !== undefined;
  }

  /** Returns the attachments of all networks, including those whose record cannot be read. */
  async index(): Promise<AttachmentIndex> {
    const found = await inParallel(await this.containers(), FOLDERS_AT_ONCE, async (containerId) => {
      const all = new Map<string, { containerId: string; ifName: string; part: string }>();
      for (const name of await listDir(this.folder(containerId))) {
        const file = parseFileName(name);
        if (file === undefined) continue;
        const { ifName, network: part } = file;
        all.set(`${ifName}@${part}`, { containerId, ifName, part });
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
}

/** Reads the name of a record's file; undefined for another file. */
export function parseFileName(name: string): RecordFileName | undefined {
  const [, ifName, network, aside] = RECORD_NAME.exec(name) ?? [];
  return ifName && network ? { ifName, network, isAside: aside !== undefined } : undefined;
}
