import { networkOf } from "../cni/address.ts";
import { familyOf, ipBytes } from "./ip_bytes.ts";
import { NETLINK } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";
import type { AddRoute } from "./operation.ts";

/** What fits into the byte of the header. */
const LAST_SHORT_TABLE = 255;

/**
 * Adds a route through the interface with that index. Without a flag that says otherwise the kernel puts it before others
 * to the same network.
 */
export function addRoute(route: AddRoute, index: number): NetlinkRequest {
  const { gateway, metric, table = NETLINK.RT_TABLE_MAIN, mtu, advmss } = route;
  const dst = networkOf(route.dst);
  const writer = new NetlinkWriter(NETLINK.RTM_NEWROUTE, NETLINK.NLM_F_ACK | NETLINK.NLM_F_CREATE);
  const isLong = table > LAST_SHORT_TABLE;
  writer.u8(familyOf(dst.ip), dst.prefix, 0, 0);
  writer.u8(
    isLong ? NETLINK.RT_TABLE_UNSPEC : table,
    NETLINK.RTPROT_BOOT,
    scopeOf(route),
    NETLINK.RTN_UNICAST,
  );
  writer.u32(0);
  if (dst.prefix > 0) writer.attribute(NETLINK.RTA_DST, ipBytes(dst.ip));
  if (gateway !== undefined) writer.attribute(NETLINK.RTA_GATEWAY, ipBytes(gateway));
  if (isLong) writer.attributeU32(NETLINK.RTA_TABLE, table);
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
