import { asResult, type Dns, type Interface, type IpConfig, type Result, type Route } from "../cni/result.ts";
import type { PodNetwork } from "./pod.ts";

/** An interface of a pod, or one that a plugin made for it on the host; all that its plugin told of it. */
export type PodInterface = Interface & {
  /** The network that it is of. */
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

/** What all networks of a pod come to. */
export interface PodResult {
  /** In the order of attachment, each with the result of its plugins. */
  readonly networks: readonly PodNetwork[];
  /** In the order of the results. A name is one interface within a network and a namespace only. */
  readonly interfaces: readonly PodInterface[];
  /** All addresses, without prefix lengths. */
  readonly ips: readonly string[];
  /** One entry for each network that tells of DNS. */
  readonly dns: readonly (Dns & { readonly network: string })[];
  /** In the order of the results. */
  readonly routes: readonly (Route & { readonly network: string })[];
}

/** Gathers the results of a pod's networks; nothing of one replaces something of another. */
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
  const told = (result.interfaces ?? []).map((shown, index) => ({
    ...shown,
    network,
    addresses: ips.filter((ip) => ip.interface === index).map(addressOf),
  }));
  // Results of old versions, and lazy ones, do not say where an address is: on the interface that was asked for.
  const stray = ips.filter((ip) => ip.interface === undefined || told[ip.interface] === undefined).map(
    addressOf,
  );
  if (stray.length === 0) return told;
  const own = told.find(({ name, sandbox }) => name === ifName && sandbox);
  if (own === undefined) {
    return [...told, { network, name: ifName, addresses: stray }];
  }
  return told.map((shown) => shown === own ? { ...shown, addresses: [...shown.addresses, ...stray] } : shown);
}

function addressOf({ address, gateway }: IpConfig): PodAddress {
  return { address, gateway };
}

function isEmpty(dns: Dns | undefined): boolean {
  return Object.values(dns ?? {}).every((value) => value === undefined || value.length === 0);
}
