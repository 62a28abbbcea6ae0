import { ipJson, type IpOptions } from "./ip_command.ts";
import { showLinks } from "./link_info.ts";

/** The end of a veth pair that is on this host. */
export interface HostVeth {
  readonly name: string;
  /** The hardware address that it was made with. */
  readonly mac: string;
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
  const veths = await showLinks(["link", "show", "type", "veth"], options);
  return wanted.flatMap(({ name, mac }) => {
    const found = veths.find((veth) => veth.name === name && veth.mac.toLowerCase() === mac.toLowerCase());
    return found === undefined ? [] : [{ name, peerIndex: found.peerIndex }];
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
  const options = { run, signal };
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
