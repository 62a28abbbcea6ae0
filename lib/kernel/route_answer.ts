import type { Cidr, Ip } from "../cni/address.ts";
import { LIBC } from "../host/libc_constants.ts";
import { ipOf } from "./ip_bytes.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import { NetlinkFormatError, type NetlinkMessage, type NetlinkReader } from "./netlink_reader.ts";
import type { NextHop, RouteInfo } from "./operation.ts";

/** A route, with the indices of its interfaces in place of their names. */
export interface AnsweredRoute extends Omit<RouteInfo, "hops"> {
  readonly family: 4 | 6;
  readonly hops: readonly AnsweredHop[];
}

/** A next hop, with the index of its interface. */
export interface AnsweredHop extends Omit<NextHop, "device"> {
  readonly index: number;
}

/** Reads a route; undefined if the message is about something else, or the route is only a copy that the kernel keeps. */
export function readRoute(message: NetlinkMessage, reader: NetlinkReader): AnsweredRoute | undefined {
  if (message.type !== NETLINK.RTM_NEWROUTE) return undefined;
  const { start, end } = message;
  const { rtm_family, rtm_dst_len, rtm_table, rtm_protocol, rtm_scope, rtm_type, rtm_flags } =
    NETLINK_OFFSETS.rtmsg;
  const family = reader.u8(start + rtm_family, end) === LIBC.AF_INET6 ? 6 : 4;
  if (reader.u32(start + rtm_flags, end) & NETLINK.RTM_F_CLONED) return undefined;
  const found = readAttributes(reader, start + NETLINK_SIZES.rtmsg, end);
  const table = found.table ?? reader.u8(start + rtm_table, end);
  const protocol = reader.u8(start + rtm_protocol, end);
  return {
    family,
    dst: networkIn(found.dst, family, reader.u8(start + rtm_dst_len, end)),
    isUnicast: reader.u8(start + rtm_type, end) === NETLINK.RTN_UNICAST,
    isAdvertised: protocol === NETLINK.RTPROT_RA,
    isMain: table === NETLINK.RT_TABLE_MAIN,
    table,
    metric: found.metric,
    protocol,
    scope: reader.u8(start + rtm_scope, end),
    source: found.source,
    mtu: found.mtu,
    advmss: found.advmss,
    hops: found.hops,
  };
}

/** Reads the index of the interface in the answer to which way packets take; undefined if there is none. */
export function routeDevice(message: NetlinkMessage, reader: NetlinkReader): number | undefined {
  if (message.type !== NETLINK.RTM_NEWROUTE) return undefined;
  return readAttributes(reader, message.start + NETLINK_SIZES.rtmsg, message.end).hops[0]?.index;
}

/** The kernel leaves out a destination that has no bits. */
function networkIn(bytes: Uint8Array | undefined, family: 4 | 6, prefix: number): Cidr | undefined {
  const ip = bytes === undefined ? { family, value: 0n } : ipOf(bytes);
  return ip && { ip, prefix };
}

interface FoundAttributes {
  dst?: Uint8Array;
  table?: number;
  metric?: number;
  source?: Ip | undefined;
  mtu?: number;
  advmss?: number;
  hops: AnsweredHop[];
}

function readAttributes(reader: NetlinkReader, start: number, end: number) {
  const found: FoundAttributes = { hops: [] };
  let index: number | undefined;
  reader.attributes(start, end, (type, start, end) => {
    switch (type) {
      case NETLINK.RTA_DST:
        found.dst = reader.bytes(start, end);
        break;
      case NETLINK.RTA_TABLE:
        found.table = reader.u32(start, end);
        break;
      case NETLINK.RTA_PRIORITY:
        found.metric = reader.u32(start, end);
        break;
      case NETLINK.RTA_PREFSRC:
        found.source = ipOf(reader.bytes(start, end));
        break;
      case NETLINK.RTA_METRICS:
        Object.assign(found, readMetrics(reader, start, end));
        break;
      case NETLINK.RTA_OIF:
        index = reader.i32(start, end);
        break;
      case NETLINK.RTA_MULTIPATH:
        found.hops = readHops(reader, start, end);
        break;
    }
  });
  if (index !== undefined) found.hops = [{ index, gateway: readGateway(reader, start, end) }];
  return found;
}

function readMetrics(
  reader: NetlinkReader,
  start: number,
  end: number,
): Pick<FoundAttributes, "mtu" | "advmss"> {
  const found: Pick<FoundAttributes, "mtu" | "advmss"> = {};
  reader.attributes(start, end, (type, start, end) => {
    if (type === NETLINK.RTAX_MTU) found.mtu = reader.u32(start, end);
    if (type === NETLINK.RTAX_ADVMSS) found.advmss = reader.u32(start, end);
  });
  return found;
}

function readGateway(reader: NetlinkReader, start: number, end: number): Ip | undefined {
  let gateway: Ip | undefined;
  reader.attributes(start, end, (type, start, end) => {
    if (type === NETLINK.RTA_GATEWAY) gateway = ipOf(reader.bytes(start, end));
    // The structure `rtvia`: the family, then the address.
    if (type === NETLINK.RTA_VIA) gateway = ipOf(reader.bytes(start + NETLINK_OFFSETS.rtvia.rtvia_addr, end));
  });
  return gateway;
}

/** The structures `rtnexthop`, each with attributes. */
function readHops(reader: NetlinkReader, start: number, end: number): AnsweredHop[] {
  const { rtnh_len, rtnh_hops, rtnh_ifindex } = NETLINK_OFFSETS.rtnexthop;
  const hops: AnsweredHop[] = [];
  for (let at = start; at < end;) {
    const length = reader.u16(at + rtnh_len, end);
    const after = at + length;
    if (length < NETLINK_SIZES.rtnexthop || after > end) {
      throw new NetlinkFormatError(`a next hop of ${length} bytes in ${end - at}`);
    }
    hops.push({
      index: reader.i32(at + rtnh_ifindex, end),
      gateway: readGateway(reader, at + NETLINK_SIZES.rtnexthop, after),
      weight: reader.u8(at + rtnh_hops, end) + 1,
    });
    at += length + 3 & ~3;
  }
  return hops;
}
