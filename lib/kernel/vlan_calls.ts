import { PortVlanError } from "./kernel.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import { explained } from "./explained.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import { describePortVlans, type PortVlanChange, type PortVlans, SHOW_PORT_VLANS } from "./port_vlan.ts";
import { findLink, listed } from "./shown_links.ts";
import { addVlans, listVlans, removeVlans } from "./vlan_request.ts";

/** Makes a change by netlink. @throws {PortVlanError} */
export async function changeVlans(socket: NetlinkSocket, change: PortVlanChange): Promise<void> {
  await explained(PortVlanError, describePortVlans(change), async () => {
    const { index } = await findLink(socket, change.device);
    if (change.replaces) {
      const before = (await listedVlans(socket)).find((port) => port.index === index)?.vlans ?? [];
      if (before.length > 0) await socket.change(removeVlans(before, index));
    }
    if (change.add.length > 0) await socket.change(addVlans(change.add, index));
  });
}

/** Shows the VLANs by the names of the ports. @throws {PortVlanError} */
export async function vlansBySocket(
  socket: NetlinkSocket,
): Promise<ReadonlyMap<string, readonly PortVlans[]>> {
  const ports = await explained(PortVlanError, SHOW_PORT_VLANS, () => listedVlans(socket));
  return new Map(ports.map(({ name, vlans }) => [name, vlans]));
}

/** A port, or a bridge itself, with its VLANs. */
export interface PortWithVlans {
  readonly index: number;
  readonly name: string;
  readonly vlans: readonly PortVlans[];
}

async function listedVlans(socket: NetlinkSocket): Promise<readonly PortWithVlans[]> {
  return await listed(socket, listVlans(), readVlans);
}

/** Reads the VLANs of a port; undefined for one without any. */
export function readVlans(message: NetlinkMessage, reader: NetlinkReader): PortWithVlans | undefined {
  if (message.type !== NETLINK.RTM_NEWLINK) return undefined;
  const { start, end } = message;
  let name = "";
  const vlans: PortVlans[] = [];
  reader.attributes(start + NETLINK_SIZES.ifinfomsg, end, (type, start, end) => {
    if (type === NETLINK.IFLA_IFNAME) name = reader.text(start, end);
    else if (type === NETLINK.IFLA_AF_SPEC) vlans.push(...vlansIn(reader, start, end));
  });
  const index = reader.i32(start + NETLINK_OFFSETS.ifinfomsg.ifi_index, end);
  return name === "" || vlans.length === 0 ? undefined : { index, name, vlans };
}

function vlansIn(reader: NetlinkReader, start: number, end: number): readonly PortVlans[] {
  const vlans: PortVlans[] = [];
  let first: number | undefined;
  const { flags: flagsAt, vid: idAt } = NETLINK_OFFSETS.bridge_vlan_info;
  reader.attributes(start, end, (type, start, end) => {
    if (type !== NETLINK.IFLA_BRIDGE_VLAN_INFO) return;
    const flags = reader.u16(start + flagsAt, end);
    const id = reader.u16(start + idAt, end);
    if (flags & NETLINK.BRIDGE_VLAN_INFO_RANGE_BEGIN) {
      first = id;
      return;
    }
    vlans.push({
      first: flags & NETLINK.BRIDGE_VLAN_INFO_RANGE_END ? first ?? id : id,
      last: id,
      isNative: (flags & NETLINK.BRIDGE_VLAN_INFO_PVID) !== 0,
      isUntagged: (flags & NETLINK.BRIDGE_VLAN_INFO_UNTAGGED) !== 0,
    });
  });
  return vlans;
}
