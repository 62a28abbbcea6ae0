import { breathe } from "../async/breathe.ts";
import { formatIp, type Ip, parseIp } from "../cni/address.ts";
import { createExclusive, ensureDir, readTextIfThere, removeNow, removeUnfinished } from "../host/file.ts";
import { isThereNow, namesNow, overwriteNow } from "../host/file_now.ts";
import { lockFile } from "../host/lock.ts";
import { statOwn } from "../host/stat.ts";
import { AddressLinks, linkKey } from "./address_links.ts";

/** The owner of an address. */
export interface AddressOwner {
  readonly containerId: string;
  readonly ifName: string;
}

/**
 * The allocated addresses of one network, as files that the host-local plugin of the CNI plugins project reads and writes
 * too: one file for each address, with the address as its name and the owner inside, and the address that was allocated
 * last in `last_reserved_ip.<set>`.
 *
 * The exclusive creation of the file is the reservation: a crash at any point leaves an address either free or held, never
 * allocated twice. The addresses of an owner are found by {@linkcode AddressLinks}; where these are not complete, all files
 * are read, and the links made.
 */
export interface AddressStore {
  /** Returns the names of the addresses that are taken. */
  taken(): ReadonlySet<string>;
  /** Whether an address is taken. */
  isTaken(ip: Ip): boolean;
  /** Reserves an address for an owner; returns false if it is taken. */
  reserve(ip: Ip, owner: AddressOwner): Promise<boolean>;
  /** Reserves the first of the addresses that is free; undefined if there is none. */
  reserveFirst(ips: Iterable<Ip>, owner: AddressOwner): Promise<Ip | undefined>;
  /** Returns the first of the addresses that is free. */
  firstFree(ips: Iterable<Ip>): Ip | undefined;
  /** Stores where the next search in a set of ranges begins. */
  rememberLast(set: number, ip: Ip): void;
  lastReserved(set: number): Promise<Ip | undefined>;
  /** Returns the addresses of an owner, also those that an old version wrote without the interface name. */
  addressesOf(owner: AddressOwner): Promise<Ip[]>;
  /** Describes the owner of an address; undefined if its file names none. */
  holderOf(ip: Ip): Promise<string | undefined>;
  /** Frees one address that was reserved for an owner. */
  free(ip: Ip, owner: AddressOwner): void;
  /** Frees all addresses of an owner; those without an interface name only if there are no others. */
  release(owner: AddressOwner): Promise<void>;
  /** Frees the addresses of all other owners; returns them. */
  releaseOthers(valid: readonly AddressOwner[]): Promise<Ip[]>;
}

/** The owner that the file of an address names; an old version wrote none of the interface. */
export interface AddressHolder {
  readonly containerId: string;
  readonly ifName: string | undefined;
}

/** Returns the owner of an address in the store of a directory, without its lock; undefined if the address is free. */
export async function holderIn(dir: string, ip: Ip): Promise<AddressHolder | undefined> {
  const text = (await readTextIfThere(`${dir}/${formatIp(ip)}`) ?? "").trim();
  if (isBlank(text)) return undefined;
  const [containerId = "", ifName] = text.split("\r\n");
  return { containerId, ifName };
}

/** Options of {@linkcode withAddressStore}. */
export interface AddressStoreOptions {
  /**
   * Whether files without a link get one. The original plugin leaves the links behind, so only the plugin that takes addresses
   * makes them. @default {true}
   */
  readonly adopts?: boolean | undefined;
}

/** To list 10,000 names takes as long as some thousand looks at one name. */
const LOOKS_BEFORE_LIST = 2_048;

/**
 * Calls `use` with the store in a directory, which no other process, of this program or of the original plugin, changes
 * meanwhile. Order of locks: this one is the innermost.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directory, and for `.podwire` beside it: without, each call reads
 * all files, and each reservation waits for the disk.
 */
export async function withAddressStore<T>(
  dir: string,
  signal: AbortSignal,
  use: (store: AddressStore) => Promise<T>,
  { adopts = true }: AddressStoreOptions = {},
): Promise<T> {
  // Making a directory that is there takes ten times as long as a look.
  if (!(await statOwn(dir).catch(() => undefined))?.isDirectory) await ensureDir(dir, 0o755);
  using _lock = await lockFile(`${dir}/lock`, { signal });
  const links = new AddressLinks(dir);
  const store = new LockedStore(dir, links, { isComplete: await links.isComplete(), adopts });
  try {
    return await use(store);
  } finally {
    store.close();
  }
}

/** An address file. */
interface AddressFile {
  readonly name: string;
  /** The owner; undefined if neither text nor link says it. */
  readonly key: string | undefined;
  /** Without white space around it; undefined if it was not read, because a link says the owner. */
  readonly text: string | undefined;
}

class LockedStore implements AddressStore {
  readonly #dir: string;
  readonly #links: AddressLinks;
  readonly #adopts: boolean;
  /** Whether every address file that names an owner has its link. */
  #isComplete: boolean;
  #isChanged = false;
  /** The files that {@linkcode LockedStore.#scan} has found last. */
  #scanned: readonly AddressFile[] = [];

  constructor(
    dir: string,
    links: AddressLinks,
    { isComplete, adopts }: { readonly isComplete: boolean; readonly adopts: boolean },
  ) {
    this.#dir = dir;
    this.#links = links;
    this.#isComplete = isComplete;
    this.#adopts = adopts;
  }

  close(): void {
    if (this.#isChanged && this.#isComplete) this.#links.markComplete();
  }

  taken(): ReadonlySet<string> {
    return new Set(namesNow(this.#dir));
  }

  isTaken(ip: Ip): boolean {
    return this.#isTaken(formatIp(ip));
  }

  async reserve(ip: Ip, owner: AddressOwner): Promise<boolean> {
    const address = formatIp(ip);
    if (this.#isTaken(address)) return false;
    this.#isChanged = true;
    const text = recordOf(owner);
    const made = this.#links.create({ key: linkKey(text), address }, text);
    if (made !== undefined) return made;
    this.#isComplete = false;
    // An address file without a link that loses its text would stay reserved.
    return await createExclusive(this.#pathOf(address), text, { mode: 0o600, durable: "text" });
  }

  async reserveFirst(ips: Iterable<Ip>, owner: AddressOwner): Promise<Ip | undefined> {
    // While the lock is held no plugin takes an address, but an operator may.
    for (const ip of this.#free(ips)) if (await this.reserve(ip, owner)) return ip;
    return undefined;
  }

  firstFree(ips: Iterable<Ip>): Ip | undefined {
    for (const ip of this.#free(ips)) return ip;
    return undefined;
  }

  *#free(ips: Iterable<Ip>): Generator<Ip> {
    let looks = 0;
    let names: ReadonlySet<string> | undefined;
    for (const ip of ips) {
      const name = formatIp(ip);
      if (looks++ >= LOOKS_BEFORE_LIST) names ??= this.taken();
      if (!(names?.has(name) ?? this.#isTaken(name))) yield ip;
    }
  }

  rememberLast(set: number, ip: Ip): void {
    this.#isChanged = true;
    // Only a hint: without it the search begins at the first address.
    overwriteNow(lastPath(this.#dir, set), formatIp(ip));
  }

  async lastReserved(set: number): Promise<Ip | undefined> {
    return parseIp(await readTextIfThere(lastPath(this.#dir, set)) ?? "");
  }

  async addressesOf(owner: AddressOwner): Promise<Ip[]> {
    if (!this.#isComplete) await this.#scan();
    const texts = [recordOf(owner), owner.containerId];
    const found: string[] = [];
    for (const text of texts) found.push(...await this.#heldBy(text));
    return found.flatMap((name) => parseIp(name) ?? []);
  }

  async holderOf(ip: Ip): Promise<string | undefined> {
    const holder = await holderIn(this.#dir, ip);
    if (holder === undefined) return undefined;
    const { containerId, ifName } = holder;
    return `container "${containerId}"${ifName === undefined ? "" : ` (${ifName})`}`;
  }

  free(ip: Ip, owner: AddressOwner): void {
    this.#remove({ key: linkKey(recordOf(owner)), address: formatIp(ip) });
  }

  async release(owner: AddressOwner): Promise<void> {
    if (this.#isComplete && await this.#releaseLinked(owner)) return;
    // Also if nothing is found in a complete index: a release that misses an address would be the last one.
    await this.#scan({ readAll: true });
    await this.#releaseLinked(owner);
  }

  /** Returns whether an address was found. */
  async #releaseLinked(owner: AddressOwner): Promise<boolean> {
    for (const text of [recordOf(owner), owner.containerId]) {
      const key = linkKey(text);
      const held = await this.#heldBy(text);
      for (const address of held) this.#remove({ key, address });
      if (held.length > 0) return true;
    }
    return false;
  }

  async releaseOthers(valid: readonly AddressOwner[]): Promise<Ip[]> {
    const keep = new Set(valid.flatMap((owner) => [recordOf(owner), owner.containerId]));
    const keys = new Set(Array.from(keep, linkKey));
    const freed: Ip[] = [];
    for (const { name, key } of await this.#scan()) {
      if (key !== undefined && keys.has(key)) continue;
      // The text decides, also if a link says something else.
      if (keep.has(await this.#textOf(name) ?? "")) continue;
      this.#remove({ key, address: name });
      freed.push(...[parseIp(name)].filter((ip) => ip !== undefined));
    }
    return freed;
  }

  /** Returns the addresses with that text, and those whose file has lost it. */
  async #heldBy(text: string): Promise<string[]> {
    const key = linkKey(text);
    const held: string[] = [];
    // Where links cannot be made, only the scan knows the owners.
    const scanned = this.#isComplete ? [] : this.#scanned.filter((file) => file.text === text);
    for (const address of new Set([...this.#links.of(key), ...scanned.map(({ name }) => name)])) {
      const now = await this.#textOf(address);
      if (now === text || now !== undefined && isCut(now, text) && this.#links.isOf({ key, address })) {
        held.push(address);
      }
    }
    return held;
  }

  #remove({ key, address }: Pick<AddressFile, "key"> & { readonly address: string }): void {
    this.#isChanged = true;
    removeNow(this.#pathOf(address));
    if (key !== undefined) this.#links.drop({ key, address });
  }

  /**
   * Finds the owners of all files, and makes the links complete if that is possible. A file with a link is the one that the
   * link was made for, so it is read only on request: another program may have written into it.
   */
  async #scan({ readAll = false } = {}): Promise<readonly AddressFile[]> {
    const names = namesNow(this.#dir).sort();
    // Finishes what a killed process left unfinished: `podwire recover` does not know this directory.
    if (names.some((name) => name.startsWith("."))) await removeUnfinished(this.#dir);
    const links = Map.groupBy(await this.#links.all(), ({ address }) => address);
    const files: AddressFile[] = [];
    this.#isChanged = true;
    this.#isComplete = true;
    for (const name of names.filter(isCanonical)) {
      const linked = (links.get(name) ?? []).filter((link) => this.#links.isOf(link));
      const [only] = linked.length === 1 && !readAll ? linked : [];
      const text = only === undefined ? await this.#textOf(name) ?? "" : undefined;
      // A link to the same file says who made it, if its text was cut.
      const maker = linked.find((link) => text === undefined || mayBeCut(link.key, text));
      const key = maker?.key ?? (text === undefined || isBlank(text) ? undefined : linkKey(text));
      files.push({ name, key, text });
      // Without the permission, or on another file system, it would fail for each of them.
      if (key !== undefined && !linked.some((link) => link.key === key)) {
        this.#isComplete &&= this.#adopts && this.#links.adopt({ key, address: name });
      }
      for (const link of links.get(name) ?? []) if (link.key !== key) this.#links.drop(link);
      links.delete(name);
      await breathe();
    }
    for (const link of [...links.values()].flat()) this.#links.drop(link);
    this.#scanned = files;
    return files;
  }

  async #textOf(name: string): Promise<string | undefined> {
    return (await readTextIfThere(this.#pathOf(name)))?.trim();
  }

  #isTaken(name: string): boolean {
    return isThereNow(this.#pathOf(name));
  }

  #pathOf(name: string): string {
    return `${this.#dir}/${name}`;
  }
}

function recordOf({ containerId, ifName }: AddressOwner): string {
  return `${containerId}\r\n${ifName}`;
}

/** After a loss of power a file may be empty, or full of zeros. */
function isBlank(text: string): boolean {
  return /^[\s\0]*$/.test(text);
}

/** Whether this may be left of the text of the owner that a link names. Of a very long one only zeros show it. */
function mayBeCut(key: string, left: string): boolean {
  return key.startsWith("~") ? isBlank(left) || left.includes("\0") : isCut(left, key.replace("@", "\r\n"));
}

/** Whether a loss of power may have left this of the text: its beginning, or nothing, with or without zeros behind it. */
function isCut(left: string, text: string): boolean {
  return text.startsWith(left.replace(/[\s\0]*$/, ""));
}

function lastPath(dir: string, set: number): string {
  return `${dir}/last_reserved_ip.${set}`;
}

/** Whether a file can be that of an address: the canonical name of any other would be that of another file. */
function isCanonical(name: string): boolean {
  const ip = parseIp(name);
  return ip !== undefined && formatIp(ip) === name;
}
