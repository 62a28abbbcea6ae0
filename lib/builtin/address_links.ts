import { basename, dirname, join } from "@std/path/posix";
import { breathe } from "../async/breathe.ts";
import { removeNow } from "../host/file.ts";
import { inDirNow, isOneFileNow, linkNow, makeNow, namesNow, setTimesNow } from "../host/file_now.ts";
import { fnv1a } from "../host/fnv.ts";
import { mayChange } from "../host/permissions.ts";
import { statOwn } from "../host/stat.ts";

/** Beside the networks' directories: no network can have such a name, and the original plugin reads only those. */
const FOLDER = ".podwire";

/** The names of all links of 10,000 addresses take 20 ms to list; those in one of so many folders a tenth of one. */
const BUCKETS = 251;

/** With the longest address, and the character between, the name stays below NAME_MAX of Linux. */
const LONGEST_KEY = 200;

/** An owner whose names can be part of a file name as they are. */
const PLAIN = /^(?<id>[A-Za-z0-9][\w.-]*)(?:\r\n(?<ifName>[^\s\0/@:]{1,15}))?$/;

const DAY_MS = 24 * 60 * 60 * 1000;

/** Whether this process may use the links of a directory. */
const granted = new Map<string, boolean>();

/** A second name of an address file, that begins with its owner. */
export interface AddressLink {
  /** The owner, as {@linkcode linkKey} forms it. */
  readonly key: string;
  /** The name of the address file. */
  readonly address: string;
}

/** Returns how the name of a link begins, for the text of an address file. */
export function linkKey(text: string): string {
  const { id, ifName } = PLAIN.exec(text)?.groups ?? {};
  const key = ifName === undefined ? id : `${id}@${ifName}`;
  return key !== undefined && key.length <= LONGEST_KEY ? key : `~${fnv1a(text, 64).toString(16)}`;
}

/**
 * Hard links to the address files of one network, in a folder of podwire: `<dataDir>/.podwire/<network>/xx/<owner>@<address>`.
 * They are an index by owner, and prove who has a file whose text was lost:
 *
 * - The link is made first, so a loss of power leaves the address file with its link, if it leaves it at all: a file system
 *   puts names on the disk in the order in which they are made. The text may be lost; then the link, which is a name of the
 *   same file, still says whose it is. No other file can be taken for it, such as one that an operator makes later, because
 *   the link holds the file. So the text needs no sync.
 * - An index is complete if every address file that names an owner has its link. The original plugin makes no links. So
 *   {@linkcode markComplete} sets the modification times of both directories to one moment that is long past: if they
 *   differ, another program has made or removed a file since, or a process was killed between its changes and the mark.
 *
 * The index only says which files to read: the text of an address file decides. Call under the lock of the network.
 */
export class AddressLinks {
  readonly #dir: string;
  readonly #root: string;

  /** `dir` has the address files. */
  constructor(dir: string) {
    this.#dir = dir;
    this.#root = join(dirname(dir), FOLDER, basename(dir));
  }

  /** Whether no file was made or removed since {@linkcode markComplete}. */
  async isComplete(): Promise<boolean> {
    if (!this.#isGranted()) return false;
    const [ours, theirs] = await Promise.all([this.#root, this.#dir].map(statOwn)).catch(() => []);
    return ours !== undefined && theirs !== undefined && ours.mtimeMs === theirs.mtimeMs &&
      // Two directories that were made at the same time are not marked.
      theirs.ctimeMs - theirs.mtimeMs > DAY_MS / 2;
  }

  /** Says that the index is complete now. Where that is not possible, it counts as incomplete. */
  markComplete(): void {
    const moment = Date.now() - DAY_MS;
    try {
      inDirNow(this.#root, () => setTimesNow(this.#root, moment));
      setTimesNow(this.#dir, moment);
    } catch {
      // Only the owner of a directory may set its time.
    }
  }

  /** Returns the addresses that the links of an owner name. */
  of(key: string): string[] {
    if (!this.#isGranted()) return [];
    const links = linksIn(this.#bucket(key));
    return links.filter((link) => link.key === key).map(({ address }) => address).sort();
  }

  /** Returns all links. */
  async all(): Promise<AddressLink[]> {
    if (!this.#isGranted()) return [];
    const links: AddressLink[] = [];
    for (const bucket of listed(this.#root)) {
      await breathe();
      links.push(...linksIn(join(this.#root, bucket)));
    }
    return links;
  }

  /**
   * Makes an address file with its link; returns false if there is such a file, and undefined if links cannot be made here.
   * Then nothing is left.
   */
  create(link: AddressLink, text: string): boolean | undefined {
    if (!this.#isGranted()) return undefined;
    try {
      return this.#create(link, text);
    } catch {
      // Another file system, another owner, a full disk: the caller finds out when it makes a file without a link.
      return undefined;
    }
  }

  #create(link: AddressLink, text: string): boolean {
    const path = this.#pathOf(link);
    // One that is left belongs to no address file any more.
    removeNow(path);
    inDirNow(this.#bucket(link.key), () => makeNow(path, text));
    try {
      if (linkNow(path, join(this.#dir, link.address))) return true;
    } catch (error) {
      removeNow(path);
      throw error;
    }
    removeNow(path);
    return false;
  }

  /** Makes the link of an address file that is there already; returns false where that is not possible. */
  adopt(link: AddressLink): boolean {
    if (!this.#isGranted()) return false;
    const path = this.#pathOf(link);
    const file = join(this.#dir, link.address);
    try {
      inDirNow(this.#bucket(link.key), () => {
        if (linkNow(file, path)) return;
        // The link of a former file with that address.
        removeNow(path);
        linkNow(file, path);
      });
      return true;
    } catch {
      return false;
    }
  }

  /** Whether it is a name of the file that has the address now. */
  isOf({ key, address }: AddressLink): boolean {
    return isOneFileNow(this.#pathOf({ key, address }), join(this.#dir, address));
  }

  /** Removes a link. One that stays does no harm: its address file has another text, or is missing. */
  drop(link: AddressLink): void {
    try {
      removeNow(this.#pathOf(link));
    } catch {
      // The next scan tries again.
    }
  }

  /** A script may have been granted the directory of the network only. */
  #isGranted(): boolean {
    const path = this.#root;
    const known = granted.get(path);
    if (known !== undefined) return known;
    const isGranted = mayChange(path);
    granted.set(path, isGranted);
    return isGranted;
  }

  #pathOf({ key, address }: AddressLink): string {
    return join(this.#bucket(key), `${key}@${address}`);
  }

  #bucket(key: string): string {
    return join(this.#root, bucketOf(key));
  }
}

/** Paths on disk are made of it, so its values never change. A scan asks for each address. */
function bucketOf(key: string): string {
  let hash = 0;
  for (let i = 0; i < key.length; i++) hash = (hash * 31 + key.charCodeAt(i)) % BUCKETS;
  return hash.toString(16).padStart(2, "0");
}

function linksIn(bucket: string): AddressLink[] {
  return listed(bucket).flatMap((name) => {
    const end = name.lastIndexOf("@");
    return end < 0 ? [] : [{ key: name.slice(0, end), address: name.slice(end + 1) }];
  });
}

function listed(dir: string): readonly string[] {
  try {
    return namesNow(dir);
  } catch {
    // Where links cannot be read they cannot be made either, and so never count as complete.
    return [];
  }
}
