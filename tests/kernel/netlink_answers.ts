// Answers of the kernel, made by hand.
import { NETLINK } from "../../lib/kernel/netlink_constants.ts";
import { NetlinkWriter } from "../../lib/kernel/netlink_writer.ts";

/** Gives a message its number, and its flags without that of a request. */
export function numbered(writer: NetlinkWriter, sequence: number, flags = 0): Uint8Array {
  const { bytes } = writer.end();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  return bytes;
}

/** An acknowledgement; `number` is below zero for a refusal. */
export function acknowledgement(
  sequence: number,
  number: number,
  { text, capped = false }: { readonly text?: string; readonly capped?: boolean } = {},
): Uint8Array {
  const writer = new NetlinkWriter(NETLINK.NLMSG_ERROR, 0).u32(number >>> 0);
  // The header of the request, and a part of it.
  writer.u32(capped ? 300 : 20).u16(NETLINK.RTM_NEWLINK).u16(5).u32(sequence, 0);
  if (!capped) writer.u32(0xffffffff);
  if (text !== undefined) writer.attributeU32(2, 40).attributeText(NETLINK.NLMSGERR_ATTR_MSG, text);
  const flags = (capped ? NETLINK.NLM_F_CAPPED : 0) | (text === undefined ? 0 : NETLINK.NLM_F_ACK_TLVS);
  return numbered(writer, sequence, flags);
}

/** The end of a list. */
export function end(sequence: number, flags = 0, number = 0): Uint8Array {
  return numbered(new NetlinkWriter(NETLINK.NLMSG_DONE, 0).u32(number >>> 0), sequence, flags);
}

/** An interface with every attribute that is read. */
export function link(sequence: number, name: string, flags = 0): Uint8Array {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWLINK, 0).u8(0, 0).u16(1).u32(7, 0x103, 0);
  writer.attributeText(NETLINK.IFLA_IFNAME, name).attributeU32(13, 1000).attributeU8(
    NETLINK.IFLA_OPERSTATE,
    6,
  );
  writer.attributeU32(NETLINK.IFLA_MTU, 1400).attributeU32(NETLINK.IFLA_LINK, 9);
  writer.attribute(NETLINK.IFLA_ADDRESS, Uint8Array.of(2, 0, 0, 0, 0, 10));
  writer.attributeU32(NETLINK.IFLA_LINK_NETNSID, 0).attributeU32(NETLINK.IFLA_MASTER, 3);
  writer.attributeText(NETLINK.IFLA_IFALIAS, "an alias");
  writer.nested(NETLINK.IFLA_LINKINFO, () => writer.attributeText(NETLINK.IFLA_INFO_KIND, "veth"));
  writer.nested(NETLINK.IFLA_PROP_LIST | NETLINK.NLA_F_NESTED, () => {
    writer.attributeText(NETLINK.IFLA_ALT_IFNAME, "other").attributeText(NETLINK.IFLA_ALT_IFNAME, "third");
  });
  return numbered(writer, sequence, flags);
}

/** A port of a bridge with VLANs: one of its own, and a range. */
export function vlans(sequence: number, flags = 0): Uint8Array {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWLINK, 0).u8(7, 0).u16(1).u32(7, 0x103, 0);
  writer.attributeText(NETLINK.IFLA_IFNAME, "veth0");
  const vlan = (flags: number, id: number) =>
    writer.nested(NETLINK.IFLA_BRIDGE_VLAN_INFO, () => writer.u16(flags).u16(id));
  writer.nested(NETLINK.IFLA_AF_SPEC, () => vlan(0x6, 5) && vlan(0x8, 100) && vlan(0x10, 200));
  return numbered(writer, sequence, flags);
}

/** An IPv4 address. */
export function address(sequence: number, flags = 0): Uint8Array {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWADDR, 0).u8(2, 24, 0, 0).u32(7);
  writer.attribute(NETLINK.IFA_ADDRESS, Uint8Array.of(10, 1, 2, 9));
  writer.attribute(NETLINK.IFA_LOCAL, Uint8Array.of(10, 1, 2, 3));
  return numbered(writer, sequence, flags);
}

/** An IPv4 route with every attribute that is read: two next hops, one of them through a gateway of the other family. */
export function route(sequence: number, flags = 0): Uint8Array {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWROUTE, 0).u8(2, 16, 0, 0).u8(0, 3, 0, 1).u32(0);
  writer.attribute(NETLINK.RTA_DST, Uint8Array.of(10, 2, 0, 0));
  writer.attributeU32(NETLINK.RTA_TABLE, 1000).attributeU32(NETLINK.RTA_PRIORITY, 7);
  writer.attribute(NETLINK.RTA_PREFSRC, Uint8Array.of(10, 1, 0, 3));
  writer.nested(NETLINK.RTA_METRICS, () => {
    writer.attributeU32(NETLINK.RTAX_MTU, 1400).attributeU32(NETLINK.RTAX_ADVMSS, 1300);
  });
  writer.nested(NETLINK.RTA_MULTIPATH, () => {
    writer.u16(16).u8(0, 2).u32(7).attribute(NETLINK.RTA_GATEWAY, Uint8Array.of(10, 1, 0, 9));
    const via = Uint8Array.of(10, 0, 0xfd, ...Array<number>(14).fill(0), 9);
    writer.u16(32).u8(0, 0).u32(8).attribute(NETLINK.RTA_VIA, via);
  });
  return numbered(writer, sequence, flags);
}

/** An IPv4 rule with every attribute that is read. */
export function rule(sequence: number, flags = 0): Uint8Array {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWRULE, 0).u8(2, 0, 24, 0).u8(0, 0, 0, 1).u32(0);
  writer.attribute(NETLINK.FRA_SRC, Uint8Array.of(10, 1, 0, 0));
  writer.attributeU32(NETLINK.FRA_TABLE, 1000).attributeU32(NETLINK.FRA_PRIORITY, 77);
  writer.attributeU32(NETLINK.FRA_SUPPRESS_PREFIXLEN, 0xffffffff).attributeU8(NETLINK.FRA_PROTOCOL, 3);
  return numbered(writer, sequence, flags);
}

/** Messages that arrive together. */
export function joined(...messages: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const sizes = messages.map(({ length }) => Math.ceil(length / 4) * 4);
  const all = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  let at = 0;
  for (const [index, message] of messages.entries()) {
    all.set(message, at);
    at += sizes[index] ?? 0;
  }
  return all;
}
