import { formatIp, type Ip, parseIp } from "../cni/address.ts";
import {
  createExclusive,
  ensureDir,
  listDir,
  readTextIfThere,
  removeIfThere,
  removeUnfinished,
  writeFileSynced,
} from "../host/file.ts";
import { lockFile } from "../host/lock.ts";

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
 * allocated twice.
 */
export interface AddressStore {
  /** Returns the names of the addresses that are taken. */
  taken(): Promise<ReadonlySet<string>>;
  /** Reserves an address for an owner; returns false if it is taken. */
  reserve(ip: Ip, owner: AddressOwner): Promise<boolean>;
  /** Stores where the next search in a set of ranges begins. */
  rememberLast(set: number, ip: Ip): Promise<void>;
  lastReserved(set: number): Promise<Ip | undefined>;
  /** Returns the addresses of an owner, also those that an old version wrote without the interface name. */
  addressesOf(owner: AddressOwner): Promise<Ip[]>;
  /** Describes the owner of an address; undefined if its file names none. */
  holderOf(ip: Ip): Promise<string | undefined>;
  /** Frees one address. */
  free(ip: Ip): Promise<void>;
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
  const [containerId = "", ifName] = text.split("\r\n");
  return containerId === "" ? undefined : { containerId, ifName };
}

/** The latency of each file limits the reading, not the CPU. */
const READS_AT_ONCE = 64;

/**
 * Calls `use` with the store in a directory, which no other process, of this program or of the original plugin, changes
 * meanwhile. Order of locks: this one is the innermost.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directory.
 */
export async function withAddressStore<T>(
  dir: string,
  signal: AbortSignal,
  use: (store: AddressStore) => Promise<T>,
): Promise<T> {
  await ensureDir(dir, 0o755);
  using _lock = await lockFile(`${dir}/lock`, { signal });
  return await use(storeIn(dir));
}

function storeIn(dir: string): AddressStore {
  const pathOf = (ip: Ip) => `${dir}/${formatIp(ip)}`;
  const free = async (ip: Ip) => void await removeIfThere(pathOf(ip));
  return {
    taken: async () => new Set(await listDir(dir)),
    // A reservation that a loss of power takes away was of a container that is gone too; one without its owner would stay.
    reserve: (ip, owner) => createExclusive(pathOf(ip), recordOf(owner), { mode: 0o600, durable: "text" }),
    // Only a hint: without it the search begins at the first address.
    rememberLast: (set, ip) =>
      writeFileSynced(lastPath(dir, set), formatIp(ip), { mode: 0o600, durable: false }),
    lastReserved: async (set) => parseIp(await readTextIfThere(lastPath(dir, set)) ?? ""),
    addressesOf: async (owner) => {
      const records = await readRecords(dir);
      return records.filter(({ text }) => text === recordOf(owner) || text === owner.containerId)
        .map(({ ip }) => ip);
    },
    holderOf: async (ip) => {
      const holder = await holderIn(dir, ip);
      if (holder === undefined) return undefined;
      const { containerId, ifName } = holder;
      return `container "${containerId}"${ifName === undefined ? "" : ` (${ifName})`}`;
    },
    free,
    release: async (owner) => {
      // Finishes what a killed process left unfinished: `podwire recover` does not know this directory.
      await removeUnfinished(dir);
      const records = await readRecords(dir);
      const own = records.filter(({ text }) => text === recordOf(owner));
      const old = records.filter(({ text }) => text === owner.containerId);
      for (const { ip } of own.length > 0 ? own : old) await free(ip);
    },
    releaseOthers: async (valid) => {
      const keep = new Set(valid.flatMap((owner) => [recordOf(owner), owner.containerId]));
      const stale = (await readRecords(dir)).filter(({ text }) => !keep.has(text)).map(({ ip }) => ip);
      for (const ip of stale) await free(ip);
      return stale;
    },
  };
}

function recordOf({ containerId, ifName }: AddressOwner): string {
  return `${containerId}\r\n${ifName}`;
}

function lastPath(dir: string, set: number): string {
  return `${dir}/last_reserved_ip.${set}`;
}

async function readRecords(dir: string): Promise<{ readonly ip: Ip; readonly text: string }[]> {
  const files = (await listDir(dir)).flatMap((name) => {
    const ip = parseIp(name);
    // A file whose name is not canonical was not made here: its canonical name would be that of another file.
    return ip === undefined || formatIp(ip) !== name ? [] : [{ ip, name }];
  });
  const records: { ip: Ip; text: string }[] = [];
  for (let at = 0; at < files.length; at += READS_AT_ONCE) {
    const some = files.slice(at, at + READS_AT_ONCE).map(async ({ ip, name }) => ({
      ip,
      text: (await readTextIfThere(`${dir}/${name}`) ?? "").trim(),
    }));
    records.push(...await Promise.all(some));
  }
  return records;
}
