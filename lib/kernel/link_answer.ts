import { LIBC } from "../host/libc_constants.ts";
import type { BridgePortFlags, LinkInfo, LinkTraffic } from "../host/link_info.ts";
import { ipOf, printIp } from "./ip_bytes.ts";
import { linkType, PRINTED_TYPES } from "./link_type.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import { IPVLAN_MODES, MACVLAN_MODES } from "./operation.ts";

/** An interface, without what other answers say: the names of the bridge and of the parent, and the addresses. */
export interface AnsweredLink extends Omit<LinkInfo, "master" | "parent" | "addresses"> {
  /** The index of the parent; 0 if none, or if it is in another namespace. */
  readonly parentIndex: number;
  /** The index of the bridge that it is a port of; 0 if none. */
  readonly masterIndex: number;
}

/** RFC 2863, as `ip` prints them. */
const STATES = ["UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"] as const;

/**
 * Reads an interface, with what it has carried if `hasTraffic` says so; undefined if the message is about something else, or the
 * interface has no name.
 */
export function readLink(
  message: NetlinkMessage,
  reader: NetlinkReader,
  hasTraffic = false,
): AnsweredLink | undefined {
  if (message.type !== NETLINK.RTM_NEWLINK) return undefined;
  const { start, end } = message;
  const { ifi_type, ifi_index, ifi_flags } = NETLINK_OFFSETS.ifinfomsg;
  const flags = reader.u32(start + ifi_flags, end);
  const type = reader.u16(start + ifi_type, end);
  const found = readAttributes(reader, start + NETLINK_SIZES.ifinfomsg, end, hasTraffic);
  if (found.name === "") return undefined;
  return {
    name: found.name,
    altNames: found.altNames,
    index: reader.i32(start + ifi_index, end),
    peerIndex: found.isElsewhere && found.link !== 0 ? found.link : undefined,
    parentIndex: found.isElsewhere ? 0 : found.link,
    mac: printHardwareAddress(found.address, type),
    masterIndex: found.master,
    port: found.port,
    kind: found.kind,
    mode: modeOf(found),
    vlanId: found.kind === "vlan" ? found.data.get(NETLINK.IFLA_VLAN_ID) : undefined,
    vrfTable: found.kind === "vrf" ? found.data.get(NETLINK.IFLA_VRF_TABLE) : undefined,
    filtersVlans: found.kind === "bridge" && found.data.get(NETLINK.IFLA_BR_VLAN_FILTERING) === 1,
    type: linkType(type),
    mtu: found.mtu,
    isUp: (flags & LIBC.IFF_UP) !== 0,
    isPromiscuous: (flags & LIBC.IFF_PROMISC) !== 0,
    isAllMulticast: (flags & LIBC.IFF_ALLMULTI) !== 0,
    txQueueLength: found.txQueueLength,
    operState: STATES[found.state] ?? "",
    alias: found.alias,
    ...found.traffic === undefined ? {} : { traffic: found.traffic },
  };
}

/** What is not in the message. */
function nothingFound() {
  return {
    name: "",
    altNames: [] as string[],
    address: NO_BYTES,
    mtu: 0,
    txQueueLength: 0,
    link: 0,
    /** Whether the other end is in another namespace. */
    isElsewhere: false,
    master: 0,
    state: -1,
    kind: "",
    /** What is special about the kind: numbers by their type. */
    data: new Map<number, number>(),
    alias: "",
    traffic: undefined as LinkTraffic | undefined,
    port: undefined as BridgePortFlags | undefined,
  };
}

function readAttributes(reader: NetlinkReader, start: number, end: number, hasTraffic: boolean) {
  const found = nothingFound();
  reader.attributes(start, end, (type, start, end) => {
    switch (type) {
      case NETLINK.IFLA_IFNAME:
        found.name = reader.text(start, end);
        break;
      case NETLINK.IFLA_ADDRESS:
        found.address = reader.bytes(start, end);
        break;
      case NETLINK.IFLA_MTU:
        found.mtu = reader.u32(start, end);
        break;
      case NETLINK.IFLA_TXQLEN:
        found.txQueueLength = reader.u32(start, end);
        break;
      case NETLINK.IFLA_LINK:
        found.link = reader.i32(start, end);
        break;
      case NETLINK.IFLA_LINK_NETNSID:
        found.isElsewhere = true;
        break;
      case NETLINK.IFLA_MASTER:
        found.master = reader.i32(start, end);
        break;
      case NETLINK.IFLA_OPERSTATE:
        found.state = reader.u8(start, end);
        break;
      case NETLINK.IFLA_IFALIAS:
        found.alias = reader.text(start, end);
        break;
      case NETLINK.IFLA_STATS64:
        if (hasTraffic) found.traffic = readTraffic(reader, start, end);
        break;
      case NETLINK.IFLA_LINKINFO:
        readKind(reader, start, end, found);
        break;
      case NETLINK.IFLA_PROP_LIST:
        found.altNames = textOf(reader, start, end, NETLINK.IFLA_ALT_IFNAME);
        break;
    }
  });
  return found;
}

/** The first members of `rtnl_link_stats64`, eight bytes each: of both directions packets, bytes, errors, drops. */
function readTraffic(reader: NetlinkReader, start: number, end: number): LinkTraffic {
  const at = (member: number) => reader.u64(start + 8 * member, end);
  const counters = (first: number) => ({
    bytes: at(first + 2),
    packets: at(first),
    errors: at(first + 4),
    drops: at(first + 6),
  });
  return { rx: counters(0), tx: counters(1) };
}

/** The data of other kinds is not read: their attributes have other lengths. */
const READ_KINDS: readonly string[] = ["macvlan", "ipvlan", "vlan", "vrf", "bridge"];

/** Reads the kind, the numbers that are special about it, and what a port of a bridge may do; the kernel writes the kind first. */
function readKind(
  reader: NetlinkReader,
  start: number,
  end: number,
  found: { kind: string; port: BridgePortFlags | undefined; readonly data: Map<number, number> },
): void {
  found.port = readPort(reader, start, end);
  found.kind = textOf(reader, start, end, NETLINK.IFLA_INFO_KIND)[0] ?? "";
  if (!READ_KINDS.includes(found.kind)) return;
  reader.attributes(start, end, (type, start, end) => {
    if (type !== NETLINK.IFLA_INFO_DATA) return;
    reader.attributes(start, end, (type, start, end) => {
      if (end - start === 1) found.data.set(type, reader.u8(start, end));
      else if (end - start === 2) found.data.set(type, reader.u16(start, end));
      else if (end - start === 4) found.data.set(type, reader.u32(start, end));
    });
  });
}

/** What a port of a bridge may do; undefined for what is none. */
function readPort(reader: NetlinkReader, start: number, end: number): BridgePortFlags | undefined {
  if (textOf(reader, start, end, NETLINK.IFLA_INFO_SLAVE_KIND)[0] !== "bridge") return undefined;
  const flags = new Map<number, boolean>();
  reader.attributes(start, end, (type, start, end) => {
    if (type !== NETLINK.IFLA_INFO_SLAVE_DATA) return;
    reader.attributes(start, end, (type, start, end) => {
      if (end - start === 1) flags.set(type, reader.u8(start, end) !== 0);
    });
  });
  return {
    hairpin: flags.get(NETLINK.IFLA_BRPORT_MODE) ?? false,
    isolated: flags.get(NETLINK.IFLA_BRPORT_ISOLATED),
  };
}

function modeOf(
  { kind, data }: { readonly kind: string; readonly data: ReadonlyMap<number, number> },
): string {
  if (kind === "macvlan") {
    const bits = data.get(NETLINK.IFLA_MACVLAN_MODE);
    return MACVLAN_MODES.find((_, at) => bits === 1 << at) ?? "";
  }
  return kind === "ipvlan" ? IPVLAN_MODES[data.get(NETLINK.IFLA_IPVLAN_MODE) ?? -1] ?? "" : "";
}

const NO_BYTES: Uint8Array = new Uint8Array();

/** The texts of one type among nested attributes. */
function textOf(reader: NetlinkReader, start: number, end: number, wanted: number): string[] {
  const texts: string[] = [];
  reader.attributes(start, end, (type, start, end) => {
    if (type === wanted) texts.push(reader.text(start, end));
  });
  return texts;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Prints a hardware address; that of a tunnel is an IP address. */
function printHardwareAddress(bytes: Uint8Array, type: number): string {
  if (bytes.length === PRINTED_TYPES[type]) {
    const ip = ipOf(bytes);
    if (ip !== undefined) return printIp(ip);
  }
  return Array.from(bytes, (byte) => HEX[byte]).join(":");
}
