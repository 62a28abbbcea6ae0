import { basename, dirname, join } from "@std/path/posix";
import { formatIp, type Ip, parseIp } from "../cni/address.ts";
import { removeNow } from "../host/file.ts";
import { inDirNow, isThereNow, namesNow, overwriteNow, setTimesNow } from "../host/file_now.ts";
import { fnv1a } from "../host/fnv.ts";
import { readTextNow } from "../host/read_file.ts";
import { lstatNow } from "../host/stat.ts";

/** Beside the links of the networks: no network can have such a name, and the original plugin reads neither. */
const FOLDER = ".podwire/.names";
/** So many names are remembered for a network; then the tenth of them goes whose addresses were not in use for longest. */
const MOST_NAMES = 10_000;
/** To list all names takes as long as some hundred looks at one. */
const LOOKS_BEFORE_LIST = 256;

/** A sandbox by its name, and the interface of it. */
export interface StickyName {
  readonly namespace: string;
  readonly name: string;
  readonly ifName: string;
}

/** Returns the sandbox that `CNI_ARGS` name; undefined if they name none. */
export function stickyName(args: ReadonlyMap<string, string>, ifName: string): StickyName | undefined {
  const name = args.get("K8S_POD_NAME") ?? "";
  return name === "" ? undefined : { namespace: args.get("K8S_POD_NAMESPACE") ?? "", name, ifName };
}

/**
 * Which sandbox had which address last, by its name: `<dataDir>/.podwire/.names/<network>/` has a file for each name, with its
 * addresses, and one for each address, with its name; the time of the latter is when the address was in use last.
 *
 * All of it is a hint: what is lost or damaged is not remembered. Call under the lock of the network.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directory.
 */
export class StickyAddresses {
  readonly #names: string;
  readonly #addresses: string;
  readonly #most: number;
  #looks = 0;
  #listed: ReadonlySet<string> | undefined;

  /** `dir` has the address files of the network. */
  constructor(dir: string, { most = MOST_NAMES }: { readonly most?: number } = {}) {
    const root = join(dirname(dir), FOLDER, basename(dir));
    this.#names = `${root}/names`;
    this.#addresses = `${root}/addresses`;
    this.#most = most;
  }

  /** Returns the addresses that a sandbox had last, and that were not given to another one since. */
  of(name: StickyName): readonly Ip[] {
    const key = keyOf(name);
    return this.#read(key, textOf(name)).filter((ip) => this.#nameOf(ip) === key);
  }

  /** Whether an address is remembered for another sandbox. */
  isOfOther(ip: Ip, name: StickyName | undefined): boolean {
    if (this.#looks++ >= LOOKS_BEFORE_LIST) this.#listed ??= new Set(namesNow(this.#addresses));
    if (this.#listed?.has(formatIp(ip)) === false) return false;
    const other = this.#nameOf(ip);
    return other !== undefined && (name === undefined || other !== keyOf(name));
  }

  /** Returns all addresses that are remembered, those first that were not in use for longest. */
  longestUnused(): readonly Ip[] {
    const times = namesNow(this.#addresses).flatMap((address) => {
      const ip = parseIp(address);
      return ip === undefined ? [] : [{ ip, at: lstatNow(join(this.#addresses, address))?.mtimeMs ?? 0 }];
    });
    return times.sort((a, b) => a.at - b.at).map(({ ip }) => ip);
  }

  /** Remembers the addresses of a sandbox, and no others for it. `isTaken` says which addresses are in use. */
  remember(name: StickyName, ips: readonly Ip[], isTaken: (ip: Ip) => boolean): void {
    const key = keyOf(name);
    const before = this.of(name);
    const path = join(this.#names, key);
    if (!isThereNow(path)) this.#makeRoom(isTaken);
    const addresses = ips.map(formatIp);
    inDirNow(this.#names, () => overwriteNow(path, `${textOf(name)}\n${addresses.join(" ")}\n`));
    for (const address of addresses) {
      inDirNow(this.#addresses, () => overwriteNow(join(this.#addresses, address), `${key}\n`));
    }
    for (const ip of before) if (!addresses.includes(formatIp(ip))) this.forget(ip);
  }

  /** Forgets for which sandbox an address is remembered. */
  forget(ip: Ip): void {
    removeNow(join(this.#addresses, formatIp(ip)));
  }

  /** Notes that an address was in use until now. */
  touch(ip: Ip): void {
    const path = join(this.#addresses, formatIp(ip));
    if (isThereNow(path)) setTimesNow(path, Date.now());
  }

  #makeRoom(isTaken: (ip: Ip) => boolean): void {
    const keys = namesNow(this.#names);
    if (keys.length < this.#most) return;
    const unused = keys.map((key) => ({ key, ips: this.#read(key).filter((ip) => this.#nameOf(ip) === key) }))
      .filter(({ ips }) => !ips.some(isTaken))
      .map(({ key, ips }) => ({ key, ips, at: Math.max(0, ...ips.map((ip) => this.#timeOf(ip))) }))
      .sort((a, b) => a.at - b.at);
    for (const { key, ips } of unused.slice(0, Math.ceil(this.#most / 10))) {
      for (const ip of ips) this.forget(ip);
      removeNow(join(this.#names, key));
    }
  }

  #timeOf(ip: Ip): number {
    return lstatNow(join(this.#addresses, formatIp(ip)))?.mtimeMs ?? 0;
  }

  /** The addresses in the file of a name; none if it is that of another `text` with the same key. */
  #read(key: string, text?: string): readonly Ip[] {
    const [owner, addresses = ""] = (readTextNow(join(this.#names, key)) ?? "").split("\n");
    if (text !== undefined && owner !== text) return [];
    return addresses.split(" ").flatMap((address) => parseIp(address) ?? []);
  }

  #nameOf(ip: Ip): string | undefined {
    return readTextNow(join(this.#addresses, formatIp(ip)))?.trim();
  }
}

function textOf({ namespace, name, ifName }: StickyName): string {
  return JSON.stringify([namespace, name, ifName]);
}

function keyOf(name: StickyName): string {
  return fnv1a(textOf(name), 64).toString(16);
}
