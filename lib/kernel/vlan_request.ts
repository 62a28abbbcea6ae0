import { LIBC } from "../host/libc_constants.ts";
import { NETLINK } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";
import type { PortVlans } from "./port_vlan.ts";

/** Gives the port with that index VLANs. */
export function addVlans(vlans: readonly PortVlans[], index: number): NetlinkRequest {
  return change(NETLINK.RTM_SETLINK, vlans, index);
}

/** Takes VLANs from the port with that index; the kernel passes over one that it does not have. */
export function removeVlans(vlans: readonly PortVlans[], index: number): NetlinkRequest {
  return change(NETLINK.RTM_DELLINK, vlans, index);
}

/** Asks for the VLANs of all ports, and of the bridges themselves. */
export function listVlans(): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETLINK, NETLINK.NLM_F_DUMP);
  bridgeHeader(writer, 0);
  writer.attributeU32(NETLINK.IFLA_EXT_MASK, NETLINK.RTEXT_FILTER_BRVLAN_COMPRESSED);
  return writer.end();
}

function change(type: number, vlans: readonly PortVlans[], index: number): NetlinkRequest {
  const writer = new NetlinkWriter(type, NETLINK.NLM_F_ACK);
  bridgeHeader(writer, index);
  writer.nested(NETLINK.IFLA_AF_SPEC, () => {
    for (const { first, last, isNative, isUntagged } of vlans) {
      const flags = (isNative ? NETLINK.BRIDGE_VLAN_INFO_PVID : 0) |
        (isUntagged ? NETLINK.BRIDGE_VLAN_INFO_UNTAGGED : 0);
      if (first === last) vlanInfo(writer, flags, first);
      else {
        vlanInfo(writer, flags | NETLINK.BRIDGE_VLAN_INFO_RANGE_BEGIN, first);
        vlanInfo(writer, flags | NETLINK.BRIDGE_VLAN_INFO_RANGE_END, last);
      }
    }
  });
  return writer.end();
}

/** The structure `bridge_vlan_info`. */
function vlanInfo(writer: NetlinkWriter, flags: number, id: number): void {
  writer.nested(NETLINK.IFLA_BRIDGE_VLAN_INFO, () => writer.u16(flags).u16(id));
}

/** The structure `ifinfomsg`, of the family of bridges. */
function bridgeHeader(writer: NetlinkWriter, index: number): void {
  writer.u8(LIBC.AF_BRIDGE, 0).u16(0).u32(index, 0, 0);
}
