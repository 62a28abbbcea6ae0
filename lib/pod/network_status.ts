import { defaultRoutesOf } from "../cni/default_route.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult, type Dns, type Result } from "../cni/result.ts";
import type { PodNetwork } from "./pod_network.ts";

// What a pod got of its networks, in the shape of the annotation network-status.
//
// Source: Kubernetes Network Custom Resource Definition De-facto Standard, version 1.3, section 5; without prefix lengths of
// addresses and with `gateway`, as the client library of its authors writes it.

/** One interface of a pod. */
export interface NetworkStatusItem {
  /** `NAMESPACE/NAME`. */
  readonly name: string;
  /** The interface inside the pod. */
  readonly interface: string;
  /** Addresses, without prefix lengths. @default {none} */
  readonly ips?: readonly string[];
  /** Its MAC address. @default {the plugins did not say} */
  readonly mac?: string;
  /** In bytes. @default {the plugins did not say} */
  readonly mtu?: number;
  /** Whether it is that of the network which Kubernetes knows the pod by. One interface at most is. */
  readonly default: boolean;
  /** How the pod looks up names on the network. */
  readonly dns: Dns;
  /** The next hops of the default routes of its network. @default {none} */
  readonly gateway?: readonly string[];
}

/** What the status of a network is made from. */
export type StatusNetwork = Pick<PodNetwork, "name" | "ifName" | "title" | "result">;

/**
 * Returns one item for each interface inside a pod.
 *
 * The first network is the default one, unless annotations name it: they add to the network of the cluster, which is on eth0.
 */
export function networkStatusOf(
  namespace: string,
  networks: readonly StatusNetwork[],
): readonly NetworkStatusItem[] {
  return networks.flatMap((network, index) => {
    const { name, title = `${namespace}/${name}` } = network;
    return itemsOf(network, title, index === 0 && network.title === undefined);
  });
}

/** Returns the status as JSON. */
export function networkStatusToJson(status: readonly NetworkStatusItem[]): readonly JsonObject[] {
  return status.map(({ ips, dns, gateway, ...rest }): JsonObject => ({
    ...rest,
    ...(ips === undefined ? {} : { ips: [...ips] }),
    dns: { ...dns } as JsonObject,
    ...(gateway === undefined ? {} : { gateway: [...gateway] }),
  }));
}

function itemsOf(
  { ifName, result: json }: StatusNetwork,
  name: string,
  isDefault: boolean,
): readonly NetworkStatusItem[] {
  const result = asResult(json);
  const all = result.interfaces ?? [];
  const found = all.flatMap((one, index) => one.sandbox ? [{ ...one, index }] : []);
  // Versions before 0.3.0 name no interfaces, and a plugin need not.
  const inside = found.length === 0 ? [{ name: ifName, mac: undefined, mtu: undefined, index: -1 }] : found;
  const gateway = defaultRoutesOf(json).flatMap(({ gateway }) => gateway ?? []);
  const marked = isDefault ? defaultIndex(result, inside) : undefined;
  return inside.map(({ name: own, mac, mtu, index }, at) => {
    const ips = addressesOf(result, index, { isOnly: inside.length === 1, isLast: at === inside.length - 1 });
    return {
      name,
      interface: own,
      ...(ips.length === 0 ? {} : { ips }),
      ...(mac ? { mac } : {}),
      ...(mtu ? { mtu } : {}),
      default: index === marked,
      dns: result.dns ?? {},
      ...(gateway.length === 0 ? {} : { gateway }),
    };
  });
}

/** That of the first address with a gateway; else the first. */
function defaultIndex(
  { ips = [] }: Result,
  inside: readonly { readonly index: number }[],
): number | undefined {
  const first = ips.find(({ gateway }) => gateway !== undefined)?.interface;
  return inside.some(({ index }) => index === first) ? first : inside[0]?.index;
}

/** Addresses belong to the interface of their index; those without one to the last. */
function addressesOf(
  { ips = [] }: Result,
  index: number,
  { isOnly, isLast }: { readonly isOnly: boolean; readonly isLast: boolean },
): readonly string[] {
  return ips.flatMap(({ address, interface: at }) => {
    const isOwn = at === undefined ? isLast : at === index || (isOnly && index === -1);
    return isOwn ? [address.split("/")[0] ?? ""] : [];
  });
}
