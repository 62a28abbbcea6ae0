import { ipJson, type IpOptions } from "./link.ts";

/** An interface that is there. */
export interface FoundLink {
  readonly name: string;
  /** In its namespace, for as long as it is there. */
  readonly index: number | undefined;
  /** As in `veth` or `dummy`; empty for a device of the machine. */
  readonly kind: string;
  /** With its article, as in "a veth" or "a physical link". */
  readonly words: string;
  readonly mac: string;
}

/**
 * The interface that has a name, be it as an alternative one, which the kernel does not give twice either.
 *
 * Requires `--allow-run=ip`, and root and `nsenter` with `netns`.
 */
export async function findLink(name: string, options: IpOptions = {}): Promise<FoundLink | undefined> {
  // All of them: `ip link show dev` fails in the same way for one that is missing and for what else goes wrong.
  const shown = await ipJson(["-d", "link", "show"], options);
  const links = Array.isArray(shown) ? shown as readonly ShownLink[] : [];
  const found = links.find(({ ifname, altnames = [] }) => ifname === name || altnames.includes(name));
  return found && toFound(found);
}

interface ShownLink {
  readonly ifindex?: number;
  readonly ifname?: string;
  readonly altnames?: readonly string[];
  readonly address?: string;
  readonly link_type?: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

function toFound({ ifindex, ifname = "", address = "", link_type, linkinfo }: ShownLink): FoundLink {
  const kind = linkinfo?.info_kind ?? "";
  const words = kind !== ""
    ? `${/^[aeio]/.test(kind) ? "an" : "a"} ${kind}`
    : link_type === "loopback"
    ? "a loopback link"
    : "a physical link";
  return { name: ifname, index: ifindex, kind, words, mac: address };
}
