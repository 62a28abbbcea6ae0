import { familyOf, ipBytes } from "./ip_bytes.ts";
import { macBytes } from "./link_request.ts";
import type { SetNeighbor } from "./neighbor.ts";
import { NETLINK } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";

/** Sets what is known of a neighbor on the interface with that index: the structure `ndmsg`, and both addresses. */
export function setNeighbor({ ip, mac }: Pick<SetNeighbor, "ip" | "mac">, index: number): NetlinkRequest {
  const flags = NETLINK.NLM_F_ACK | NETLINK.NLM_F_CREATE | NETLINK.NLM_F_REPLACE;
  const writer = new NetlinkWriter(NETLINK.RTM_NEWNEIGH, flags);
  writer.u8(familyOf(ip), 0).u16(0).u32(index).u16(NETLINK.NUD_STALE).u8(0, 0);
  return writer.attribute(NETLINK.NDA_DST, ipBytes(ip)).attribute(NETLINK.NDA_LLADDR, macBytes(mac)).end();
}
