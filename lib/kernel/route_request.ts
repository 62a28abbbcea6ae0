import { bitsOf, type Cidr, type Ip, networkOf } from "../cni/address.ts";
import { LIBC } from "../host/libc_constants.ts";
import { familyOf, ipBytes } from "./ip_bytes.ts";
import { NETLINK, NETLINK_SIZES } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";
import { shortTable, tableAttribute } from "./table_number.ts";
import type { AddRoute, RemoveRoute } from "./operation.ts";

/**
 * Adds a route through the interface with that index. Without a flag that says otherwise the kernel puts it before others
 * to the same network.
 */
export function addRoute(route: AddRoute, index: number): NetlinkRequest {
  const { gateway, metric, table = NETLINK.RT_TABLE_MAIN, source, mtu, advmss, replace = false } = route;
  const dst = networkOf(route.dst);
  const flags = NETLINK.NLM_F_ACK | NETLINK.NLM_F_CREATE | (replace ? NETLINK.NLM_F_REPLACE : 0);
  const writer = new NetlinkWriter(NETLINK.RTM_NEWROUTE, flags);
  writer.u8(familyOf(dst.ip), dst.prefix, 0, 0);
  writer.u8(
    shortTable(table),
    route.protocol ?? NETLINK.RTPROT_BOOT,
    scopeOf(route),
    NETLINK.RTN_UNICAST,
  );
  writer.u32(0);
  if (dst.prefix > 0) writer.attribute(NETLINK.RTA_DST, ipBytes(dst.ip));
  if (gateway !== undefined) writer.attribute(NETLINK.RTA_GATEWAY, ipBytes(gateway));
  if (source !== undefined) writer.attribute(NETLINK.RTA_PREFSRC, ipBytes(source));
  tableAttribute(writer, NETLINK.RTA_TABLE, table);
  if (metric !== undefined) writer.attributeU32(NETLINK.RTA_PRIORITY, metric);
  writer.attributeU32(NETLINK.RTA_OIF, index);
  if (mtu !== undefined || advmss !== undefined) {
    writer.nested(NETLINK.RTA_METRICS, () => {
      if (mtu !== undefined) writer.attributeU32(NETLINK.RTAX_MTU, mtu);
      if (advmss !== undefined) writer.attributeU32(NETLINK.RTAX_ADVMSS, advmss);
    });
  }
  return writer.end();
}

/** IPv6 has no scopes of routes; the kernel does not look at them. */
function scopeOf({ scope, gateway, dst }: AddRoute): number {
  if (scope !== undefined) return scope;
  return gateway === undefined && dst.ip.family === 4 ? NETLINK.RT_SCOPE_LINK : NETLINK.RT_SCOPE_UNIVERSE;
}

/** Removes a route through the interfaces with those indices, one for each of its hops. */
export function removeRoute(
  { dst, table = NETLINK.RT_TABLE_MAIN, metric, hops }: RemoveRoute,
  indices: readonly number[],
): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_DELROUTE, NETLINK.NLM_F_ACK);
  const { ip, prefix } = networkOf(dst);
  writer.u8(familyOf(ip), prefix, 0, 0);
  // Of any origin, scope and kind.
  writer.u8(shortTable(table), NETLINK.RTPROT_UNSPEC, NETLINK.RT_SCOPE_NOWHERE, NETLINK.RTN_UNSPEC);
  writer.u32(0);
  if (prefix > 0) writer.attribute(NETLINK.RTA_DST, ipBytes(ip));
  tableAttribute(writer, NETLINK.RTA_TABLE, table);
  if (metric !== undefined) writer.attributeU32(NETLINK.RTA_PRIORITY, metric);
  const [first] = hops;
  if (first !== undefined && hops.length === 1) {
    gatewayAttribute(writer, dst, first.gateway);
    return writer.attributeU32(NETLINK.RTA_OIF, indices[0] ?? 0).end();
  }
  writer.nested(NETLINK.RTA_MULTIPATH, () => {
    for (const [at, { gateway, weight = 1 }] of hops.entries()) {
      writer.u16(NETLINK_SIZES.rtnexthop + gatewaySize(dst, gateway)).u8(0, weight - 1).u32(indices[at] ?? 0);
      gatewayAttribute(writer, dst, gateway);
    }
  });
  return writer.end();
}

/** Asks for all routes of a family. */
export function listRoutes(family: 4 | 6): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETROUTE, NETLINK.NLM_F_DUMP);
  writer.u8(family === 4 ? LIBC.AF_INET : LIBC.AF_INET6, 0, 0, 0);
  return writer.u8(0, 0, 0, 0).u32(0).end();
}

/** Asks which way packets to an address take. */
export function getRoute(to: Ip): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETROUTE, 0);
  writer.u8(familyOf(to), bitsOf(to), 0, 0).u8(0, 0, 0, 0).u32(0);
  return writer.attribute(NETLINK.RTA_DST, ipBytes(to)).end();
}

function gatewayAttribute(writer: NetlinkWriter, dst: Cidr, gateway: Ip | undefined): void {
  if (gateway === undefined) return;
  if (gateway.family === dst.ip.family) writer.attribute(NETLINK.RTA_GATEWAY, ipBytes(gateway));
  else writer.attribute(NETLINK.RTA_VIA, Uint8Array.of(familyOf(gateway), 0, ...ipBytes(gateway)));
}

/** In bytes, with the padding. */
function gatewaySize(dst: Cidr, gateway: Ip | undefined): number {
  if (gateway === undefined) return 0;
  const family = gateway.family === dst.ip.family ? 0 : 2;
  return NETLINK_SIZES.nlattr + (ipBytes(gateway).length + family + 3 & ~3);
}
