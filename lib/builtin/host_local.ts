import { compareIp, formatCidr, formatIp, type Ip, parseIp } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Dns, IpConfig, Result } from "../cni/result.ts";
import { CURRENT_VERSION, SPEC_VERSIONS } from "../cni/version.ts";
import { readTextIfThere } from "../host/file.ts";
import { refuseUnknownArgs } from "../plugin/invocation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import {
  type AddressSpan,
  candidates,
  formatRangeSet,
  isWithin,
  rangeFor,
  type RangeSet,
  sizeOf,
} from "./address_range.ts";
import { type AddressOwner, type AddressStore, withAddressStore } from "./address_store.ts";
import { type HostLocalConfig, readHostLocalConfig } from "./host_local_config.ts";
import { StickyAddresses, type StickyName, stickyName } from "./sticky_addresses.ts";
import { parseResolvConf } from "../cni/resolv_conf.ts";
import { validAttachments } from "./valid_attachments.ts";

/**
 * Allocates addresses of ranges on this host, and stores them in files that it shares with the host-local plugin of the CNI
 * plugins project.
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
  const config = readConfig(request);
  await inStore(config, request, async (store) => {
    if (config.sticky) {
      const sticky = new StickyAddresses(storeDir(config, request));
      const held = await store.addressesOf(ownerOf(request));
      asHint(request, () => held.forEach((ip) => sticky.touch(ip)));
    }
    await store.release(ownerOf(request));
  });
}

async function gc(request: PluginRequest): Promise<void> {
  const valid = validAttachments(request.config);
  const config = readConfig(request);
  const freed = await inStore(config, request, (store) => store.releaseOthers(valid));
  if (config.sticky) {
    const sticky = new StickyAddresses(storeDir(config, request));
    asHint(request, () => freed.forEach((ip) => sticky.touch(ip)));
  }
  for (const ip of freed) request.log(`host-local: released ${formatIp(ip)}, which no attachment holds`);
}

/** Ready while every set has a free address, because ADD takes one of each. */
async function status(request: PluginRequest): Promise<void> {
  const config = readConfig(request);
  await inStore(config, request, async (store) => {
    for (const [index, set] of config.sets.entries()) {
      const last = await store.lastReserved(index);
      const { excluded } = config;
      if (store.firstFree(addressesFrom(set, last, excluded)) !== undefined) continue;
      throw new CniError("not-ready", `no IP addresses available in range set: ${formatRangeSet(set)}`, {
        code: ERROR_CODES.pluginNotAvailable,
        details: fullness(store, { set, excluded, dir: storeDir(config, request) }),
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

/** The search for an address in one set. */
interface AddressSearch {
  readonly store: AddressStore;
  readonly owner: AddressOwner;
  readonly dir: string;
  readonly set: RangeSet;
  /** The index of the set. */
  readonly index: number;
  readonly excluded: readonly AddressSpan[];
  /** What is remembered; undefined if the configuration does not ask for that. */
  readonly sticky: StickyAddresses | undefined;
  /** The sandbox by its name; undefined if the runtime says none. */
  readonly name: StickyName | undefined;
  /** Returns the addresses that the owner had before. It may read all files, so it is called at most once. */
  readonly held: () => Promise<readonly Ip[]>;
}

/** Allocates one address of each set, or none at all: if a set has none left, the addresses of this call are freed again. */
async function allocateAll(
  config: HostLocalConfig,
  store: AddressStore,
  request: PluginRequest,
): Promise<IpConfig[]> {
  const owner = ownerOf(request);
  const dir = storeDir(config, request);
  let known: Promise<readonly Ip[]> | undefined;
  const held = () => known ??= store.addressesOf(owner);
  const { excluded } = config;
  const sticky = config.sticky ? new StickyAddresses(dir) : undefined;
  const name = config.sticky ? stickyName(request.args, request.ifName) : undefined;
  const reserved: Ip[] = [];
  try {
    const requested = [...config.requested];
    const ips: IpConfig[] = [];
    for (const [index, set] of config.sets.entries()) {
      const at = requested.findIndex((ip) => rangeFor(set, ip) !== undefined);
      const [address] = at < 0 ? [] : requested.splice(at, 1);
      const search = { store, owner, dir, set, index, excluded, sticky, name, held };
      const ip = await (address === undefined ? takeNext(search) : takeRequested(search, address));
      reserved.push(ip);
      ips.push(configOf(set, ip));
      store.rememberLast(index, ip);
    }
    if (requested.length > 0) {
      throw new Error(`failed to allocate all requested IPs: ${requested.map(formatIp).join(" ")}`);
    }
    asHint(request, () => remember(reserved, { store, sticky, name }));
    return ips;
  } catch (error) {
    for (const ip of reserved) store.free(ip, owner);
    throw error;
  }
}

function configOf(set: RangeSet, ip: Ip): IpConfig {
  const range = rangeFor(set, ip);
  if (range === undefined) throw new Error(`${formatIp(ip)} is not in range set ${formatRangeSet(set)}`);
  return { address: formatCidr({ ip, prefix: range.subnet.prefix }), gateway: formatIp(range.gateway) };
}

async function takeRequested(search: AddressSearch, ip: Ip): Promise<Ip> {
  const { store, owner, set } = search;
  const text = formatIp(ip);
  if (search.excluded.some((span) => isWithin(span, ip))) {
    throw refusal(search, `requested ip ${text} is excluded`);
  }
  const gateway = rangeFor(set, ip)?.gateway;
  if (gateway !== undefined && formatIp(gateway) === text) {
    throw refusal(search, `requested ip ${text} is subnet's gateway`);
  }
  if (await store.reserve(ip, owner)) return ip;
  const holder = await store.holderOf(ip);
  const details = holder === undefined ? undefined : `it is held by ${holder}`;
  const msg = `requested IP address ${text} is not available in range set ${formatRangeSet(set)}`;
  throw refusal(search, msg, details);
}

async function takeNext(search: AddressSearch): Promise<Ip> {
  const { owner, set, held } = search;
  const before = (await held()).find((ip) => rangeFor(set, ip) !== undefined);
  if (before !== undefined) {
    const msg = `${formatIp(before)} has been allocated to ${owner.containerId}`;
    throw refusal(search, `${msg}, duplicate allocation is not allowed`);
  }
  const ip = await takeFree(search);
  if (ip !== undefined) return ip;
  const details = `${fullness(search.store, search)}; GC releases those that no container holds`;
  throw refusal(search, `no IP addresses available in range set: ${formatRangeSet(set)}`, details);
}

/** The address that the sandbox had last, else one that no other sandbox had, else the one that was not in use for longest. */
async function takeFree(search: AddressSearch): Promise<Ip | undefined> {
  const { store, owner, set, index, excluded, sticky, name } = search;
  const all = async () => addressesFrom(set, await store.lastReserved(index), excluded);
  if (sticky === undefined) return await store.reserveFirst(await all(), owner);
  const isUsable = (ip: Ip) => {
    const range = rangeFor(set, ip);
    return range !== undefined && compareIp(range.gateway, ip) !== 0 &&
      !excluded.some((span) => isWithin(span, ip));
  };
  const own = name === undefined ? [] : sticky.of(name).filter(isUsable);
  const before = await store.reserveFirst(own, owner);
  if (before !== undefined) return before;
  const forgotten = (await all()).filter((ip) => !sticky.isOfOther(ip, name));
  return await store.reserveFirst(forgotten, owner) ??
    await store.reserveFirst(sticky.longestUnused().filter(isUsable), owner);
}

/** Remembers the addresses of an ADD for its sandbox, or that they are those of none. */
function remember(
  ips: readonly Ip[],
  { store, sticky, name }: Pick<AddressSearch, "store" | "sticky" | "name">,
): void {
  if (sticky === undefined) return;
  if (name === undefined) ips.forEach((ip) => sticky.forget(ip));
  else sticky.remember(name, ips, (ip) => store.isTaken(ip));
}

/** Runs a step without which the address is good all the same. */
function asHint(request: PluginRequest, step: () => void): void {
  try {
    step();
  } catch (error) {
    request.log(`host-local: cannot remember addresses: ${error instanceof Error ? error.message : error}`);
  }
}

/** Says how full a set is. Only of this set: addresses of this call in other sets are freed again. */
function fullness(
  store: AddressStore,
  { set, excluded, dir }: Pick<AddressSearch, "set" | "excluded" | "dir">,
): string {
  const held = [...store.taken()].flatMap((name) => parseIp(name) ?? []).filter((ip) =>
    rangeFor(set, ip) !== undefined
  );
  const size = sizeOf(set, excluded);
  return `all ${size} addresses of it are reserved in ${dir}, held: ${held.length}`;
}

function refusal({ index }: AddressSearch, msg: string, details?: string): CniError {
  return new CniError("conflict", `failed to allocate for range ${index}: ${msg}`, {
    ...(details === undefined ? {} : { details }),
  });
}

/** Yields the addresses of a set in the order of the search. */
function* addressesFrom(
  set: RangeSet,
  last: Ip | undefined,
  excluded: readonly AddressSpan[],
): Generator<Ip> {
  for (const { ip } of candidates(set, last, excluded)) yield ip;
}
