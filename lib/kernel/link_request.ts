import { LIBC } from "../host/libc_constants.ts";
import { NETLINK } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";
import type { CreateBridge, CreateLink, CreateVeth, LinkType, SetLink, SetPort } from "./operation.ts";

const { IFF_UP, IFF_PROMISC, IFF_ALLMULTI } = LIBC;
const CREATE = NETLINK.NLM_F_ACK | NETLINK.NLM_F_CREATE | NETLINK.NLM_F_EXCL;

/** Asks for an interface by its index, its name, or an alternative name. */
export function getLink(which: number | string): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETLINK, 0);
  linkHeader(writer, { index: typeof which === "number" ? which : 0 });
  writer.attributeU32(NETLINK.IFLA_EXT_MASK, NETLINK.RTEXT_FILTER_SKIP_STATS);
  if (typeof which === "string") {
    const isLong = new TextEncoder().encode(which).length >= LIBC.IFNAMSIZ;
    writer.attributeText(isLong ? NETLINK.IFLA_ALT_IFNAME : NETLINK.IFLA_IFNAME, which);
  }
  return writer.end();
}

/** Asks for all interfaces; the kernel may leave out those that are not of the kind, or not a port of this bridge. */
export function listLinks({ kind, master }: {
  readonly kind?: string | undefined;
  readonly master?: number | undefined;
}): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETLINK, NETLINK.NLM_F_DUMP);
  linkHeader(writer, {});
  writer.attributeU32(NETLINK.IFLA_EXT_MASK, NETLINK.RTEXT_FILTER_SKIP_STATS);
  if (master !== undefined) writer.attributeU32(NETLINK.IFLA_MASTER, master);
  if (kind !== undefined) {
    writer.nested(NETLINK.IFLA_LINKINFO, () => writer.attributeText(NETLINK.IFLA_INFO_KIND, kind));
  }
  return writer.end();
}

/** Makes the pair; `bridge` is an index, `netns` a descriptor. */
export function createVeth(
  { name, mac, mtu, peer }: CreateVeth,
  { bridge, netns }: { readonly bridge: number | undefined; readonly netns: number | undefined },
): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWLINK, CREATE);
  linkHeader(writer, { flags: IFF_UP, change: IFF_UP });
  const end = (name: string, mac: string) => {
    writer.attributeText(NETLINK.IFLA_IFNAME, name).attribute(NETLINK.IFLA_ADDRESS, macBytes(mac));
    if (mtu !== undefined) writer.attributeU32(NETLINK.IFLA_MTU, mtu);
  };
  end(name, mac);
  if (bridge !== undefined) writer.attributeU32(NETLINK.IFLA_MASTER, bridge);
  writer.nested(NETLINK.IFLA_LINKINFO, () => {
    writer.attributeText(NETLINK.IFLA_INFO_KIND, "veth");
    writer.nested(NETLINK.IFLA_INFO_DATA, () => {
      writer.nested(NETLINK.VETH_INFO_PEER, () => {
        linkHeader(writer, {});
        end(peer.name, peer.mac);
        if (netns !== undefined) writer.attributeU32(NETLINK.IFLA_NET_NS_FD, netns);
      });
    });
  });
  return writer.end({ waits: true });
}

/** Makes a bridge. */
export function createBridge({ name, mac, mtu, filtersVlans = false }: CreateBridge): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWLINK, CREATE);
  linkHeader(writer, {});
  writer.attributeText(NETLINK.IFLA_IFNAME, name).attribute(NETLINK.IFLA_ADDRESS, macBytes(mac));
  if (mtu !== undefined) writer.attributeU32(NETLINK.IFLA_MTU, mtu);
  writer.nested(NETLINK.IFLA_LINKINFO, () => {
    writer.attributeText(NETLINK.IFLA_INFO_KIND, "bridge");
    if (!filtersVlans) return;
    writer.nested(NETLINK.IFLA_INFO_DATA, () => writer.attributeU8(NETLINK.IFLA_BR_VLAN_FILTERING, 1));
  });
  return writer.end();
}

/** Makes an interface; `master` is an index, `netns` a descriptor. */
export function createLink(
  { name, mac, mtu, link }: CreateLink,
  { master, netns }: { readonly master: number | undefined; readonly netns: number | undefined },
): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWLINK, CREATE);
  linkHeader(writer, {});
  writer.attributeText(NETLINK.IFLA_IFNAME, name);
  if (master !== undefined) writer.attributeU32(NETLINK.IFLA_LINK, master);
  if (mac !== undefined) writer.attribute(NETLINK.IFLA_ADDRESS, macBytes(mac));
  if (mtu !== undefined) writer.attributeU32(NETLINK.IFLA_MTU, mtu);
  if (netns !== undefined) writer.attributeU32(NETLINK.IFLA_NET_NS_FD, netns);
  writer.nested(NETLINK.IFLA_LINKINFO, () => {
    writer.attributeText(NETLINK.IFLA_INFO_KIND, link.type);
    // These two are the same everywhere.
    if (link.type === "dummy" || link.type === "ifb") return;
    writer.nested(NETLINK.IFLA_INFO_DATA, () => linkData(writer, link));
  });
  return writer.end({ waits: true });
}

const MACVLAN_BITS = {
  private: NETLINK.MACVLAN_MODE_PRIVATE,
  vepa: NETLINK.MACVLAN_MODE_VEPA,
  bridge: NETLINK.MACVLAN_MODE_BRIDGE,
  passthru: NETLINK.MACVLAN_MODE_PASSTHRU,
  source: NETLINK.MACVLAN_MODE_SOURCE,
} as const;

const IPVLAN_NUMBERS = {
  l2: NETLINK.IPVLAN_MODE_L2,
  l3: NETLINK.IPVLAN_MODE_L3,
  l3s: NETLINK.IPVLAN_MODE_L3S,
} as const;

function linkData(writer: NetlinkWriter, link: Exclude<LinkType, { type: "dummy" | "ifb" }>): void {
  switch (link.type) {
    case "macvlan":
      writer.attributeU32(NETLINK.IFLA_MACVLAN_MODE, MACVLAN_BITS[link.mode]);
      if (link.broadcastQueue !== undefined) {
        writer.attributeU32(NETLINK.IFLA_MACVLAN_BC_QUEUE_LEN, link.broadcastQueue);
      }
      break;
    case "ipvlan":
      writer.attributeU16(NETLINK.IFLA_IPVLAN_MODE, IPVLAN_NUMBERS[link.mode]);
      break;
    case "vlan":
      writer.attributeU16(NETLINK.IFLA_VLAN_ID, link.id);
      break;
    case "vrf":
      writer.attributeU32(NETLINK.IFLA_VRF_TABLE, link.table);
  }
}

/** Changes the port with that index. */
export function setPort({ hairpin, isolated }: SetPort, index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWLINK, NETLINK.NLM_F_ACK);
  linkHeader(writer, { index });
  writer.nested(NETLINK.IFLA_LINKINFO, () => {
    writer.attributeText(NETLINK.IFLA_INFO_SLAVE_KIND, "bridge");
    writer.nested(NETLINK.IFLA_INFO_SLAVE_DATA, () => {
      writer.attributeU8(NETLINK.IFLA_BRPORT_MODE, hairpin ? 1 : 0);
      writer.attributeU8(NETLINK.IFLA_BRPORT_ISOLATED, isolated ? 1 : 0);
    });
  });
  return writer.end();
}

/** Changes the interface with that index; `netns` is a descriptor, `master` an index, or 0 for none. */
export function setLink(
  { newName, up, promiscuous, allMulticast, mtu, txQueueLength, mac, alias }: Omit<SetLink, "kind" | "name">,
  index: number,
  { netns, master }: { readonly netns?: number | undefined; readonly master?: number | undefined } = {},
): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWLINK, NETLINK.NLM_F_ACK);
  const bits = (wanted: boolean | undefined, bit: number) => ({
    flags: wanted ? bit : 0,
    change: wanted === undefined ? 0 : bit,
  });
  const wanted = [bits(up, IFF_UP), bits(promiscuous, IFF_PROMISC), bits(allMulticast, IFF_ALLMULTI)];
  const merged = (of: "flags" | "change") => wanted.reduce((all, each) => all | each[of], 0);
  linkHeader(writer, { index, flags: merged("flags"), change: merged("change") });
  if (newName !== undefined) writer.attributeText(NETLINK.IFLA_IFNAME, newName);
  if (netns !== undefined) writer.attributeU32(NETLINK.IFLA_NET_NS_FD, netns);
  if (master !== undefined) writer.attributeU32(NETLINK.IFLA_MASTER, master);
  if (mtu !== undefined) writer.attributeU32(NETLINK.IFLA_MTU, mtu);
  if (txQueueLength !== undefined) writer.attributeU32(NETLINK.IFLA_TXQLEN, txQueueLength);
  if (mac !== undefined) writer.attribute(NETLINK.IFLA_ADDRESS, macBytes(mac));
  if (alias !== undefined) writer.attribute(NETLINK.IFLA_IFALIAS, new TextEncoder().encode(alias));
  return writer.end({ waits: netns !== undefined });
}

/** Removes the interface with that index. */
export function removeLink(index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_DELLINK, NETLINK.NLM_F_ACK);
  linkHeader(writer, { index });
  return writer.end({ waits: true });
}

interface LinkHeader {
  readonly index?: number;
  readonly flags?: number;
  /** The flags that count. */
  readonly change?: number;
}

/** The structure `ifinfomsg`. */
function linkHeader(writer: NetlinkWriter, { index = 0, flags = 0, change = 0 }: LinkHeader): void {
  writer.u8(0, 0).u16(0).u32(index, flags, change);
}

/** Returns the bytes of a hardware address. @throws {TypeError} If the text is not one. */
export function macBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{1,2}(:[0-9a-f]{1,2})+$/i.test(text)) {
    throw new TypeError(`Cannot use the hardware address ${JSON.stringify(text)}: it is not one`);
  }
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}
