import type { LinkInfo } from "../host/link_info.ts";
import type { Kernel, KernelOptions } from "./kernel.ts";
import { vethsOfHost } from "./links.ts";

/** The end of a veth pair that is on this host. */
export interface HostVeth {
  readonly name: string;
  /** The hardware address that it was made with. */
  readonly mac: string;
}

type Options = Pick<KernelOptions, "signal">;

/**
 * Returns the names of the pairs that still exist: veths with both that name and that address, which no other veth has. The
 * pod cannot reach the end of a pair on the host, whatever it does to its own: rename it, put another link in its place, or
 * move it to another namespace.
 */
export async function existingHostVeths(
  kernel: Kernel,
  wanted: readonly HostVeth[],
  options: Options = {},
): Promise<readonly string[]> {
  return (await hostVethPeers(kernel, wanted, options)).map(({ name }) => name);
}

/** A pair that still exists. */
export interface HostVethPeer {
  readonly name: string;
  /** The index of the other end, in its namespace. */
  readonly peerIndex: number | undefined;
}

/** Returns the same pairs as {@linkcode existingHostVeths}, with the other ends. */
export async function hostVethPeers(
  kernel: Kernel,
  wanted: readonly HostVeth[],
  options: Options = {},
): Promise<readonly HostVethPeer[]> {
  if (wanted.length === 0) return [];
  const veths = await vethsOfHost(kernel, options);
  return wanted.flatMap(({ name, mac }) => {
    const found = veths.find((veth) => veth.name === name && veth.mac.toLowerCase() === mac.toLowerCase());
    return found === undefined || isOfHost(found, veths) ? [] : [{ name, peerIndex: found.peerIndex }];
  });
}

/** Whether it connects this host with a bridge of it, as the gateway of a VLAN does: results name that too, and all pods use it. */
function isOfHost({ parent, master }: LinkInfo, veths: readonly LinkInfo[]): boolean {
  return parent !== "" && master === "" &&
    veths.some((other) => other.name === parent && other.master !== "");
}

/**
 * Removes those of the pairs that still exist, with both ends; returns the names of those that existed. Requires root.
 *
 * @throws {KernelError} If one cannot be removed.
 */
export async function removeHostVeths(
  kernel: Kernel,
  wanted: readonly HostVeth[],
  { signal }: Options = {},
): Promise<readonly string[]> {
  const there = await existingHostVeths(kernel, wanted, { signal });
  for (const name of there) {
    try {
      await kernel.apply([{ kind: "remove-link", name }], { signal });
    } catch (error) {
      // It may have disappeared with the namespace of its other end.
      if ((await existingHostVeths(kernel, wanted, { signal })).includes(name)) throw error;
    }
  }
  return there;
}
