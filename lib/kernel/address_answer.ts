import type { LinkAddress } from "../host/link_info.ts";
import { ipOf, printIp } from "./ip_bytes.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";

/** An address, and the interface that has it. */
export interface AnsweredAddress extends LinkAddress {
  readonly index: number;
}

const SCOPES: Readonly<Record<number, string>> = {
  [NETLINK.RT_SCOPE_UNIVERSE]: "global",
  [NETLINK.RT_SCOPE_SITE]: "site",
  [NETLINK.RT_SCOPE_LINK]: "link",
  [NETLINK.RT_SCOPE_HOST]: "host",
  [NETLINK.RT_SCOPE_NOWHERE]: "nowhere",
};

function stateOf(flags: number): Pick<LinkAddress, "state"> {
  if ((flags & NETLINK.IFA_F_DADFAILED) !== 0) return { state: "duplicate" };
  return (flags & NETLINK.IFA_F_TENTATIVE) !== 0 ? { state: "tentative" } : {};
}

/** Reads an address; undefined if the message is about something else, or the address is not one of IP. */
export function readAddress(message: NetlinkMessage, reader: NetlinkReader): AnsweredAddress | undefined {
  if (message.type !== NETLINK.RTM_NEWADDR) return undefined;
  const { start, end } = message;
  const { ifa_prefixlen, ifa_flags, ifa_scope, ifa_index } = NETLINK_OFFSETS.ifaddrmsg;
  const flags = reader.u8(start + ifa_flags, end);
  const scope = reader.u8(start + ifa_scope, end);
  const prefix = reader.u8(start + ifa_prefixlen, end);
  const index = reader.i32(start + ifa_index, end);
  const found: { local?: Uint8Array; far?: Uint8Array } = {};
  reader.attributes(start + NETLINK_SIZES.ifaddrmsg, end, (type, start, end) => {
    if (type === NETLINK.IFA_LOCAL) found.local = reader.bytes(start, end);
    if (type === NETLINK.IFA_ADDRESS) found.far = reader.bytes(start, end);
  });
  const bytes = found.local ?? found.far;
  const ip = bytes && ipOf(bytes);
  if (ip === undefined) return undefined;
  return {
    index,
    address: `${printIp(ip)}/${prefix}`,
    scope: SCOPES[scope] ?? `${scope}`,
    ...stateOf(flags),
  };
}
