import { type Cidr, parseIp } from "../cni/address.ts";
import { firstShown } from "./ip_script.ts";

/** What `ip -j address show` or `ip -j link show` tells of an interface, as far as the plugins ask. */
export interface ShownLink {
  readonly name: string;
  readonly index: number;
  /** The index of the other end of a veth pair; 0 if there is none. */
  readonly peerIndex: number;
  readonly mac: string;
  /** The bridge that it is a port of; empty if none. */
  readonly master: string;
  /** As in `veth` or `bridge`; empty unless asked for with `-d`. */
  readonly kind: string;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly isPromiscuous: boolean;
  readonly operState: string;
  readonly alias: string;
  readonly addresses: readonly Cidr[];
}

/** Reads what one `show` line showed; undefined if that was nothing. */
export function readShownLink(list: readonly unknown[] | undefined): ShownLink | undefined {
  const shown = firstShown(list);
  return shown && toLink(shown);
}

/** Reads one interface of a `show` line. */
export function toLink(shown: Readonly<Record<string, unknown>>): ShownLink {
  const text = (key: string) => String(shown[key] ?? "");
  const flags = Array.isArray(shown.flags) ? shown.flags : [];
  const info = shown.linkinfo as { readonly info_kind?: string } | undefined;
  const addresses = Array.isArray(shown.addr_info) ? shown.addr_info : [];
  return {
    name: text("ifname"),
    index: Number(shown.ifindex ?? 0),
    peerIndex: Number(shown.link_index ?? 0),
    mac: text("address"),
    master: text("master"),
    kind: info?.info_kind ?? "",
    mtu: Number(shown.mtu ?? 0),
    isUp: flags.includes("UP"),
    isPromiscuous: flags.includes("PROMISC"),
    operState: text("operstate"),
    alias: text("ifalias"),
    addresses: addresses.flatMap(({ local, prefixlen }) => {
      const ip = parseIp(String(local));
      return ip === undefined ? [] : [{ ip, prefix: Number(prefixlen) }];
    }),
  };
}
