import { type Cidr, lastOf } from "../cni/address.ts";
import { familyOf, ipBytes } from "./ip_bytes.ts";
import { NETLINK } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";
import type { AddAddress } from "./operation.ts";

/** A network with a longer prefix has no broadcast address. */
const LONGEST_BROADCAST_PREFIX = 30;
const LOOPBACK = 127n;

/** Gives the interface with that index an address. */
export function addAddress(
  { address, replace = false, detectsDuplicates = false }: Omit<AddAddress, "kind" | "device">,
  index: number,
): NetlinkRequest {
  const { ip, prefix } = address;
  const how = replace ? NETLINK.NLM_F_REPLACE : NETLINK.NLM_F_EXCL;
  const writer = new NetlinkWriter(NETLINK.RTM_NEWADDR, NETLINK.NLM_F_ACK | NETLINK.NLM_F_CREATE | how);
  const isLoopback = ip.family === 4 && ip.value >> 24n === LOOPBACK;
  addressHeader(writer, {
    address,
    index,
    flags: ip.family === 6 && !detectsDuplicates ? NETLINK.IFA_F_NODAD : 0,
    scope: isLoopback ? NETLINK.RT_SCOPE_HOST : NETLINK.RT_SCOPE_UNIVERSE,
  });
  if (ip.family === 4 && prefix <= LONGEST_BROADCAST_PREFIX) {
    writer.attribute(NETLINK.IFA_BROADCAST, ipBytes(lastOf(address)));
  }
  return writer.end();
}

/** Takes an address from the interface with that index. */
export function removeAddress(address: Cidr, index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_DELADDR, NETLINK.NLM_F_ACK);
  addressHeader(writer, { address, index, flags: 0, scope: 0 });
  return writer.end();
}

/** Asks for all addresses; the kernel may leave out those of other interfaces than the one with that index. */
export function listAddresses(index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETADDR, NETLINK.NLM_F_DUMP);
  return writer.u8(0, 0, 0, 0).u32(index).end();
}

interface AddressHeader {
  readonly address: Cidr;
  readonly index: number;
  readonly flags: number;
  readonly scope: number;
}

/** The structure `ifaddrmsg`, and the address as that of this end and as that of the link. */
function addressHeader(writer: NetlinkWriter, { address, index, flags, scope }: AddressHeader): void {
  const bytes = ipBytes(address.ip);
  writer.u8(familyOf(address.ip), address.prefix, flags, scope).u32(index);
  writer.attribute(NETLINK.IFA_LOCAL, bytes).attribute(NETLINK.IFA_ADDRESS, bytes);
}
