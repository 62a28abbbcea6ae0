import { ipJson, type IpOptions } from "./ip_command.ts";
import { showLinks } from "./link_info.ts";

/** The end of a veth pair that is on this host. */
export interface HostVeth {
  readonly name: string;
  /** The hardware address that it was made with. */
  readonly mac: string;
}

/**
 * Returns the names of the pairs that still exist: veths with both that name and that address, which no other veth has. The
 * pod cannot reach the end of a pair on the host, whatever it does to its own: rename it, put another link in its place, or
 * move it to another namespace.
 *
 * Requires `--allow-run=ip`.
 */
export async function existingHostVeths(
  wanted: readonly HostVeth[],
  options: Omit<IpOptions, "netns"> = {},
): Promise<readonly string[]> {
  return (await hostVethPeers(wanted, options)).map(({ name }) => name);
}

/** A pair that still exists. */
export interface HostVethPeer {
  readonly name: string;
  /** The index of the other end, in its namespace. */
  readonly peerIndex: number | undefined;
}

/**
 * Returns the same pairs as {@linkcode existingHostVeths}, with the other ends.
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
 * Removes those of the pairs that still exist, with both ends; returns the names of those that existed.
 *
 * Requires root and `--allow-run=ip`.
 *
 * @throws {HostError} If one cannot be removed.
 */
export async function removeHostVeths(
  wanted: readonly HostVeth[],
  { run, signal }: Omit<IpOptions, "netns"> = {},
): Promise<readonly string[]> {
  const options = { run, signal };
  const there = await existingHostVeths(wanted, options);
  for (const name of there) {
    try {
      await ipJson(["link", "delete", "dev", name], options);
    } catch (error) {
      // It may have disappeared with the namespace of its other end.
      if ((await existingHostVeths(wanted, options)).includes(name)) throw error;
    }
  }
  return there;
}
