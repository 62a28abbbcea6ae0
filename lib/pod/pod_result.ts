import { asResult, type Dns, type Interface, type IpConfig, type Result, type Route } from "../cni/result.ts";
import type { PodNetwork } from "./pod_network.ts";

/** An interface of a pod, or one that a plugin made for it on the host, with all that its plugin reported. */
export type PodInterface = Interface & {
  /** The network of the interface. */
  readonly network: string;
  /** Its addresses, in the order of the result. */
  readonly addresses: readonly PodAddress[];
};

/** An address of an interface. */
export interface PodAddress {
  /** With prefix length. */
  readonly address: string;
  /** Without prefix length. */
  readonly gateway: string | undefined;
}

/** The results of all networks of a pod. */
export interface PodResult {
  /** In the order of attachment, each with the result of its plugins. */
  readonly networks: readonly PodNetwork[];
  /** In the order of the results. A name is unique only within a network and a namespace. */
  readonly interfaces: readonly PodInterface[];
  /** All addresses, without prefix lengths. */
  readonly ips: readonly string[];
  /** One entry for each network whose result has DNS settings. */
  readonly dns: readonly (Dns & { readonly network: string })[];
  /** In the order of the results. */
  readonly routes: readonly (Route & { readonly network: string })[];
}

/** Combines the results of a pod's networks; nothing of one result replaces anything of another. */
export function combineResults(networks: readonly PodNetwork[]): PodResult {
  const results = networks.map((network) => ({ ...network, result: asResult(network.result) }));
  const interfaces = results.flatMap(interfacesOf);
  return {
    networks,
    interfaces,
    ips: results.flatMap(({ result }) =>
      (result.ips ?? []).map(({ address }) => address.split("/")[0] ?? "")
    ),
    dns: results.flatMap(({ name: network, result: { dns } }) => isEmpty(dns) ? [] : [{ ...dns, network }]),
    routes: results.flatMap(({ name: network, result }) =>
      (result.routes ?? []).map((route) => ({ ...route, network }))
    ),
  };
}

function interfacesOf(
  { name: network, ifName, result }: { name: string; ifName: string; result: Result },
): readonly PodInterface[] {
  const ips = result.ips ?? [];
  const reported = (result.interfaces ?? []).map((reported, index) => ({
    ...reported,
    network,
    addresses: ips.filter((ip) => ip.interface === index).map(addressOf),
  }));
  // Results of old versions, and incomplete ones, do not say where an address is: it is on the requested interface.
  const stray = ips.filter((ip) => ip.interface === undefined || reported[ip.interface] === undefined).map(
    addressOf,
  );
  if (stray.length === 0) return reported;
  const own = reported.find(({ name, sandbox }) => name === ifName && sandbox);
  if (own === undefined) {
    return [...reported, { network, name: ifName, addresses: stray }];
  }
  return reported.map((each) => each === own ? { ...each, addresses: [...each.addresses, ...stray] } : each);
}

function addressOf({ address, gateway }: IpConfig): PodAddress {
  return { address, gateway };
}

function isEmpty(dns: Dns | undefined): boolean {
  return Object.values(dns ?? {}).every((value) => value === undefined || value.length === 0);
}
