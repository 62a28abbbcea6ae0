import { once } from "../async/once.ts";
import { compareIp, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { isObject, type JsonObject } from "../cni/json.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { vethsOfHost } from "../kernel/links.ts";
import { type AddressHolder, holderIn } from "./address_store.ts";
import { attachmentComment, isTag, networkTag, type TaggedAttachment } from "./attachment_tag.ts";
import { DEFAULT_BRIDGE } from "./bridge_config.ts";
import type { Host } from "./host.ts";
import { DEFAULT_DATA_DIR } from "./host_local_config.ts";
import type { IsKept } from "./masquerade_iptables.ts";
import type { ValidAttachment } from "./valid_attachments.ts";

/** An attachment whose rules are removed after its interface. */
export interface DetachedInterface extends TaggedAttachment {
  /** Empty if it is gone, or if the caller may not enter it. */
  readonly netns: string;
  /** The addresses in the result of its ADD; empty if there is none. */
  readonly addresses: readonly string[];
  /** What was in its namespace before the interface was removed; only needed without a result. */
  readonly addressesBefore?: readonly Ip[] | undefined;
}

/**
 * Decides which addresses of a container, among those with rules, may be those of another interface in the same network.
 * Rules that stay by mistake go with the last interface or by GC; rules that go by mistake cut a container off. So an
 * address is given up only for one of these reasons:
 *
 * - host-local's store has it for this interface;
 * - it is in the result of the ADD, or it disappeared from the namespace together with the interface;
 * - it is not in the namespace, and the store, or without one the pairs on the host, show no other interface for it.
 *
 * An address that the store has for another interface of the container stays, whatever the result says: the result of an
 * attachment that is detached again may be old.
 */
export function keptAddresses(
  detached: DetachedInterface,
  plugins: readonly JsonObject[],
  host: Host,
): IsKept {
  const { network, containerId, ifName, netns, addresses, addressesBefore = [] } = detached;
  const recorded = addresses.flatMap((text) => parseCidr(text)?.ip ?? parseIp(text) ?? []);
  const dirs = storeDirs(plugins, network);
  const knowsStores = plugins.every(({ ipam }) => !hasOtherIpam(ipam));
  const now = once(() => addressesIn(netns, host));
  const hasOtherPair = once(() => mayHaveOtherPair(detached, plugins, host));
  return async (ip) => {
    const holder = await holderOf(ip, dirs, containerId);
    if (holder?.ifName !== undefined) return holder.ifName !== ifName;
    if (includes(recorded, ip)) return false;
    if (includes(await now(), ip)) return true;
    if (includes(addressesBefore, ip)) return false;
    return (dirs.size === 0 || !knowsStores || holder !== undefined) && await hasOtherPair();
  };
}

/** Returns whether host-local's store has an address for an interface of the container that is not valid any more. */
export function staleAddresses(
  network: string,
  config: JsonObject,
  valid: readonly ValidAttachment[],
): (ip: Ip, containerId: string) => Promise<boolean> {
  const dirs = storeDirs([config], network);
  return async (ip, containerId) => {
    const holder = await holderOf(ip, dirs, containerId);
    if (holder?.ifName === undefined) return false;
    const isHolder = (one: ValidAttachment) =>
      one.containerId === containerId && (one.ifName === "" || one.ifName === holder.ifName);
    return !valid.some(isHolder);
  };
}

/** Returns the addresses of all interfaces in a namespace; none if it is gone. */
export async function addressesIn(netns: string, { run, signal }: Host): Promise<readonly Ip[]> {
  if (netns === "" || await nsProblem(netns) !== undefined) return [];
  const [links] = await kernelFor(run).apply([{ kind: "show-links", addresses: true }], { netns, signal });
  return links.flatMap((link) => link.addresses.flatMap(({ address }) => parseCidr(address)?.ip ?? []));
}

/** Returns the directories in which host-local stores the addresses of the network. */
export function storeDirs(plugins: readonly JsonObject[], network: string): ReadonlySet<string> {
  const sections = plugins.map(({ ipam }) => ipam).filter((ipam) => ipam !== undefined && isObject(ipam));
  const ours = sections.filter(({ type }) => type === "host-local");
  return new Set(ours.map(({ dataDir }) => {
    const dir = typeof dataDir === "string" && dataDir !== "" ? dataDir : DEFAULT_DATA_DIR;
    return `${dir.replace(/\/+$/, "")}/${network}`;
  }));
}

function hasOtherIpam(ipam: JsonObject[string] | undefined): boolean {
  return ipam !== undefined && isObject(ipam) && ipam.type !== undefined && ipam.type !== "" &&
    ipam.type !== "host-local";
}

async function holderOf(
  ip: Ip,
  dirs: ReadonlySet<string>,
  containerId: string,
): Promise<AddressHolder | undefined> {
  for (const dir of dirs) {
    const holder = await holderIn(dir, ip);
    if (holder?.containerId === containerId) return holder;
  }
  return undefined;
}

/** A pair without a tag, as the CNI plugins project makes them, may be that of any container, except on a foreign bridge. */
async function mayHaveOtherPair(
  { network, containerId, ifName }: TaggedAttachment,
  plugins: readonly JsonObject[],
  host: Host,
): Promise<boolean> {
  const bridges = plugins.map(({ bridge }) => typeof bridge === "string" && bridge || DEFAULT_BRIDGE);
  const ours = `${await networkTag(network)}-`;
  for (const { alias, master } of await vethsOfHost(kernelFor(host.run), host)) {
    if (!isTag(alias)) {
      if (master === "" || bridges.includes(master)) return true;
    } else if (alias.startsWith(ours)) {
      const name = /, if: (?<name>[^ ]*), id: /.exec(alias)?.groups?.name;
      // A long name of the network leaves no room for the rest.
      if (name === undefined) return true;
      const isOfContainer = alias === await attachmentComment({ network, containerId, ifName: name });
      if (name !== ifName && isOfContainer) return true;
    }
  }
  return false;
}

function includes(ips: readonly Ip[], ip: Ip): boolean {
  return ips.some((one) => compareIp(one, ip) === 0);
}
