import { CniError, ERROR_CODES } from "../cni/error.ts";
import { formatCidr, formatIp, type Ip, parseIp } from "../cni/address.ts";
import type { Dns, IpConfig, Result } from "../cni/result.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import { readTextIfThere } from "../host/file.ts";
import { refuseUnknownArgs } from "../plugin/invocation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { candidates, formatRangeSet, rangeFor, type RangeSet } from "./address_range.ts";
import { type AddressOwner, type AddressStore, withAddressStore } from "./address_store.ts";
import { type HostLocalConfig, readHostLocalConfig } from "./host_local_config.ts";
import { parseResolvConf } from "./resolv_conf.ts";
import { validAttachments } from "./valid_attachments.ts";

/**
 * Gives out addresses of ranges on this host, and remembers them in files that the host-local plugin of the CNI
 * plugins project shares.
 */
export const hostLocal: Plugin = {
  about: "CNI plugin host-local (podwire)",
  versions: SPEC_VERSIONS,
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status, GC: gc },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readConfig(request);
  const dns = await readDns(config.resolvConf);
  const ips = await inStore(config, request, (store) => allocateAll(config, store, request));
  return {
    cniVersion: CURRENT_VERSION,
    ips,
    ...(config.routes.length > 0 ? { routes: [...config.routes] } : {}),
    ...(Object.keys(dns).length > 0 ? { dns } : {}),
  };
}

async function check(request: PluginRequest): Promise<void> {
  const found = await inStore(readConfig(request), request, (store) => store.addressesOf(ownerOf(request)));
  if (found.length === 0) {
    throw new CniError(
      "not-found",
      `host-local: no address is reserved for container ${request.containerId} and interface ${request.ifName}`,
    );
  }
}

async function del(request: PluginRequest): Promise<void> {
  await inStore(readConfig(request), request, (store) => store.release(ownerOf(request)));
}

async function gc(request: PluginRequest): Promise<void> {
  const valid = validAttachments(request.config);
  const freed = await inStore(readConfig(request), request, (store) => store.releaseOthers(valid));
  for (const ip of freed) request.log(`host-local: released ${formatIp(ip)}, which no attachment holds`);
}

/** Ready while every set has an address left, since ADD takes one of each. */
async function status(request: PluginRequest): Promise<void> {
  const config = readConfig(request);
  await inStore(config, request, async (store) => {
    const taken = await store.taken();
    for (const set of config.sets) {
      if (firstFree(set, undefined, taken) !== undefined) continue;
      throw new CniError("not-ready", `no IP addresses available in range set: ${formatRangeSet(set)}`, {
        code: ERROR_CODES.pluginNotAvailable,
        details: `all addresses are reserved in ${storeDir(config, request)}`,
      });
    }
  });
}

function readConfig(request: PluginRequest): HostLocalConfig {
  refuseUnknownArgs(request.args, ["IP"]);
  return readHostLocalConfig(request.config, request.cniVersion, request.args);
}

function ownerOf({ containerId, ifName }: PluginRequest): AddressOwner {
  return { containerId, ifName };
}

function storeDir(config: HostLocalConfig, { name }: PluginRequest): string {
  return `${config.dataDir.replace(/\/+$/, "")}/${name}`;
}

function inStore<T>(
  config: HostLocalConfig,
  request: PluginRequest,
  use: (store: AddressStore) => Promise<T>,
): Promise<T> {
  return withAddressStore(storeDir(config, request), request.signal, use);
}

async function readDns(path: string): Promise<Dns> {
  if (path === "") return {};
  const text = await readTextIfThere(path);
  if (text !== undefined) return parseResolvConf(text);
  throw new CniError("config", `Cannot read "ipam.resolvConf" "${path}": the file does not exist`, {
    code: ERROR_CODES.invalidNetworkConfig,
  });
}

/** The search for one address. */
interface Turn {
  readonly store: AddressStore;
  readonly owner: AddressOwner;
  readonly dir: string;
  readonly set: RangeSet;
  /** Of the set. */
  readonly index: number;
  /** What the owner had before. To know it all files must be read, so it is asked for at most once. */
  readonly held: () => Promise<readonly Ip[]>;
}

/** One address of each set, or none at all: what this call took goes back when a later set has none. */
async function allocateAll(
  config: HostLocalConfig,
  store: AddressStore,
  request: PluginRequest,
): Promise<IpConfig[]> {
  const owner = ownerOf(request);
  const dir = storeDir(config, request);
  let known: Promise<readonly Ip[]> | undefined;
  const held = () => known ??= store.addressesOf(owner);
  const reserved: Ip[] = [];
  try {
    const wishes = [...config.requested];
    const ips: IpConfig[] = [];
    for (const [index, set] of config.sets.entries()) {
      const at = wishes.findIndex((ip) => rangeFor(set, ip) !== undefined);
      const [wish] = at < 0 ? [] : wishes.splice(at, 1);
      const turn = { store, owner, dir, set, index, held };
      const ip = await (wish === undefined ? takeNext(turn) : takeWish(turn, wish));
      reserved.push(ip);
      ips.push(configOf(set, ip));
      await store.rememberLast(index, ip);
    }
    if (wishes.length > 0) {
      throw new Error(`failed to allocate all requested IPs: ${wishes.map(formatIp).join(" ")}`);
    }
    return ips;
  } catch (error) {
    for (const ip of reserved) await store.free(ip);
    throw error;
  }
}

function configOf(set: RangeSet, ip: Ip): IpConfig {
  const range = rangeFor(set, ip);
  if (range === undefined) throw new Error(`${formatIp(ip)} is not in range set ${formatRangeSet(set)}`);
  return { address: formatCidr({ ip, prefix: range.subnet.prefix }), gateway: formatIp(range.gateway) };
}

async function takeWish(turn: Turn, ip: Ip): Promise<Ip> {
  const { store, owner, set } = turn;
  const text = formatIp(ip);
  const gateway = rangeFor(set, ip)?.gateway;
  if (gateway !== undefined && formatIp(gateway) === text) {
    throw refusal(turn, `requested ip ${text} is subnet's gateway`);
  }
  if (await store.reserve(ip, owner)) return ip;
  const holder = await store.holderOf(ip);
  const details = holder === undefined ? undefined : `it is held by ${holder}`;
  const msg = `requested IP address ${text} is not available in range set ${formatRangeSet(set)}`;
  throw refusal(turn, msg, details);
}

async function takeNext(turn: Turn): Promise<Ip> {
  const { store, owner, dir, set, index, held } = turn;
  const before = (await held()).find((ip) => rangeFor(set, ip) !== undefined);
  if (before !== undefined) {
    const msg = `${formatIp(before)} has been allocated to ${owner.containerId}`;
    throw refusal(turn, `${msg}, duplicate allocation is not allowed`);
  }
  const last = await store.lastReserved(index);
  // Under the lock no plugin takes one, but an operator may: a name that appeared since counts as taken.
  const taken = new Set(await store.taken());
  for (;;) {
    const ip = firstFree(set, last, taken);
    if (ip === undefined) break;
    if (await store.reserve(ip, owner)) return ip;
    taken.add(formatIp(ip));
  }
  // Of this set alone: what this call took of the others goes back.
  const isOfSet = (ip: Ip | undefined) => ip !== undefined && rangeFor(set, ip) !== undefined;
  const count = [...taken].filter((name) => isOfSet(parseIp(name))).length;
  const details =
    `all addresses are reserved in ${dir}, held: ${count}; GC releases those that no container holds`;
  throw refusal(turn, `no IP addresses available in range set: ${formatRangeSet(set)}`, details);
}

function refusal({ index }: Turn, msg: string, details?: string): CniError {
  return new CniError("conflict", `failed to allocate for range ${index}: ${msg}`, {
    ...(details === undefined ? {} : { details }),
  });
}

function firstFree(set: RangeSet, last: Ip | undefined, taken: ReadonlySet<string>): Ip | undefined {
  for (const { ip } of candidates(set, last)) {
    if (!taken.has(formatIp(ip))) return ip;
  }
  return undefined;
}
