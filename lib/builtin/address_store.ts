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

/** Who holds an address. */
export interface AddressOwner {
  readonly containerId: string;
  readonly ifName: string;
}

/**
 * The addresses of one network that are given away, as files that the host-local plugin of the CNI plugins project
 * reads and writes too: one file per address, named by it, with the owner inside, and the address given away last in
 * `last_reserved_ip.<set>`.
 *
 * A file that is made exclusively is the reservation, so a crash at any point leaves an address either free or held,
 * never given twice.
 */
export interface AddressStore {
  /** The names of the addresses that are taken. */
  taken(): Promise<ReadonlySet<string>>;
  /** Whether the address was free and is now the owner's. */
  reserve(ip: Ip, owner: AddressOwner): Promise<boolean>;
  /** Where the search in a set of ranges goes on next time. */
  rememberLast(set: number, ip: Ip): Promise<void>;
  lastReserved(set: number): Promise<Ip | undefined>;
  /** The addresses of an owner, those that an old version wrote without the interface name included. */
  addressesOf(owner: AddressOwner): Promise<Ip[]>;
  /** Who holds an address, as far as its file tells. */
  holderOf(ip: Ip): Promise<string | undefined>;
  /** Frees one address. */
  free(ip: Ip): Promise<void>;
  /** Frees all addresses of an owner; those without interface name only if there are no others. */
  release(owner: AddressOwner): Promise<void>;
  /** Frees the addresses of all owners but these. */
  releaseOthers(valid: readonly AddressOwner[]): Promise<Ip[]>;
}

/** Reading is bound by the latency of each file, not by the processor. */
const READS_AT_ONCE = 64;

/**
 * Calls `use` with the store in a folder while no other process, of this program or of the original plugin, changes
 * it. Order of locks: this one is the innermost.
 *
 * Permissions: `--allow-read` and `--allow-write` for the folder.
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
    reserve: (ip, owner) => createExclusive(pathOf(ip), recordOf(owner), { mode: 0o600 }),
    rememberLast: (set, ip) => writeFileSynced(lastPath(dir, set), formatIp(ip), { mode: 0o600 }),
    lastReserved: async (set) => parseIp(await readTextIfThere(lastPath(dir, set)) ?? ""),
    addressesOf: async (owner) => {
      const records = await readRecords(dir);
      return records.filter(({ text }) => text === recordOf(owner) || text === owner.containerId)
        .map(({ ip }) => ip);
    },
    holderOf: async (ip) => {
      const [containerId = "", ifName] = (await readTextIfThere(pathOf(ip)) ?? "").trim().split("\r\n");
      if (containerId === "") return undefined;
      return `container "${containerId}"${ifName === undefined ? "" : ` (${ifName})`}`;
    },
    free,
    release: async (owner) => {
      // Recovery of what a kill cut short ends here; it knows nothing of this folder.
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
    // A name in another spelling is not ours: removing it by its canonical name would remove another file.
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
