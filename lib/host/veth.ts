import { ipJson, type IpOptions } from "./link.ts";

/** The end of a veth pair that is on this host. */
export interface HostVeth {
  readonly name: string;
  /** The hardware address that it was made with. */
  readonly mac: string;
}

interface ShownVeth {
  readonly ifname?: string;
  readonly address?: string;
  /** The index of the other end, in its namespace. */
  readonly link_index?: number;
}

/**
 * Those of the pairs that are there still: veths with that name and that address, which together no other one has. The
 * end of a pair on the host is out of the reach of the pod, whatever it does to its own: rename it, put another link in
 * its place, or move it to another namespace.
 *
 * Requires `--allow-run=ip`.
 */
export async function hostVethsThere(
  wanted: readonly HostVeth[],
  options: Omit<IpOptions, "netns"> = {},
): Promise<readonly string[]> {
  return (await hostVethPeers(wanted, options)).map(({ name }) => name);
}

/** A pair that is there still. */
export interface HostVethPeer {
  readonly name: string;
  /** The index of the other end, in its namespace. */
  readonly peerIndex: number | undefined;
}

/**
 * As {@linkcode hostVethsThere}, with the other ends.
 *
 * Requires `--allow-run=ip`.
 */
export async function hostVethPeers(
  wanted: readonly HostVeth[],
  options: Omit<IpOptions, "netns"> = {},
): Promise<readonly HostVethPeer[]> {
  if (wanted.length === 0) return [];
  const shown = await ipJson(["link", "show", "type", "veth"], options);
  const veths = Array.isArray(shown) ? shown as readonly ShownVeth[] : [];
  return wanted.flatMap(({ name, mac }) => {
    const found = veths.find(({ ifname, address = "" }) =>
      ifname === name && address.toLowerCase() === mac.toLowerCase()
    );
    return found === undefined ? [] : [{ name, peerIndex: found.link_index }];
  });
}

/**
 * Removes what is left of these pairs, with both ends; gives the names of those that were there.
 *
 * Requires root and `--allow-run=ip`.
 *
 * @throws {HostError} if one cannot be removed
 */
export async function removeHostVeths(
  wanted: readonly HostVeth[],
  { run, signal }: Omit<IpOptions, "netns"> = {},
): Promise<readonly string[]> {
  const options = { ...(run && { run }), signal };
  const there = await hostVethsThere(wanted, options);
  for (const name of there) {
    try {
      await ipJson(["link", "delete", "dev", name], options);
    } catch (error) {
      // It may have gone by itself, with the namespace of its other end.
      if ((await hostVethsThere(wanted, options)).includes(name)) throw error;
    }
  }
  return there;
}
