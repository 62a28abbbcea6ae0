import { LIBC } from "../host/libc_constants.ts";
import { NETLINK, NETLINK_SIZES } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";

/** Numbers of the families of tables, by the names that `nft` has for them. */
export const NFT_FAMILIES: Readonly<Record<string, number>> = {
  inet: NETLINK.NFPROTO_INET,
  ip: NETLINK.NFPROTO_IPV4,
  arp: NETLINK.NFPROTO_ARP,
  netdev: NETLINK.NFPROTO_NETDEV,
  bridge: NETLINK.NFPROTO_BRIDGE,
  ip6: NETLINK.NFPROTO_IPV6,
};

/** Number of a family in messages of nftables. */
export function nftFamily(family: 4 | 6): number {
  return family === 4 ? LIBC.AF_INET : LIBC.AF_INET6;
}

/** Begins a message of nftables; `family` is its number, 0 for all. */
export function nftRequest(type: number, flags: number, family: number): NetlinkWriter {
  // The structure `nfgenmsg`: the family, a version and a number that are zero.
  return new NetlinkWriter(nftType(type), flags).u8(family, 0, 0, 0);
}

/** Number of a message of nftables in its header. */
export function nftType(type: number): number {
  return NETLINK.NFNL_SUBSYS_NFTABLES << 8 | type;
}

/** Calls `visit` with the type and the place of each attribute of a message of nftables. */
export function nftAttributes(
  { start, end }: NetlinkMessage,
  reader: NetlinkReader,
  visit: (type: number, start: number, end: number) => void,
): void {
  reader.attributes(start + NETLINK_SIZES.nfgenmsg, end, visit);
}

/** Reads a number of four bytes in the network's order, the most significant byte first. */
export function bigEndian32(reader: NetlinkReader, at: number, end: number): number {
  return (reader.u8(at, end) << 24 | reader.u8(at + 1, end) << 16 | reader.u8(at + 2, end) << 8 |
    reader.u8(at + 3, end)) >>> 0;
}

/** Reads a number of eight bytes in the network's order. Those of the kernel's handles count from 1. */
export function bigEndian64(reader: NetlinkReader, at: number, end: number): number {
  return bigEndian32(reader, at, end) * 2 ** 32 + bigEndian32(reader, at + 4, end);
}

/** Returns the four bytes of a number in the network's order. */
export function networkOrder32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** Returns the eight bytes of a number in the network's order. */
export function networkOrder64(value: number): Uint8Array {
  return new Uint8Array([
    ...networkOrder32(Math.floor(value / 2 ** 32)),
    ...networkOrder32(value % 2 ** 32),
  ]);
}

/** Returns the number of the last change of the rules of the socket's namespace. @throws {NetlinkError} */
export async function nftGeneration(socket: NetlinkSocket): Promise<number> {
  let generation = 0;
  const writer = nftRequest(NETLINK.NFT_MSG_GETGEN, 0, 0);
  await socket.get(writer.end(), (message, reader) => {
    nftAttributes(message, reader, (type, start, end) => {
      if (type === NETLINK.NFTA_GEN_ID) generation = bigEndian32(reader, start, end);
    });
  });
  return generation;
}

/**
 * Joins changes into one request that is carried out as a whole or not at all, and that is refused with `ERESTART` if the
 * rules have changed since a generation.
 */
export function nftTransaction(generation: number, changes: readonly NetlinkWriter[]): NetlinkRequest {
  const last = changes.length - 1;
  return NetlinkWriter.join([
    // Here the number of the structure is that of the part of the kernel, in the network's order.
    new NetlinkWriter(NETLINK.NFNL_MSG_BATCH_BEGIN, 0).u8(0, 0, 0, NETLINK.NFNL_SUBSYS_NFTABLES)
      .attribute(NETLINK.NFNL_BATCH_GENID, networkOrder32(generation)),
    ...changes.map((change, index) => index === last ? change.withFlags(NETLINK.NLM_F_ACK) : change),
    new NetlinkWriter(NETLINK.NFNL_MSG_BATCH_END, 0).u8(0, 0, 0, NETLINK.NFNL_SUBSYS_NFTABLES),
  ]);
}
