import { errnoName } from "../host/errno.ts";
import type { Bytes, Libc } from "../host/libc.ts";
import { LIBC } from "../host/libc_constants.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import { type NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import { failedCall } from "./netlink_socket.ts";
import { NetlinkWriter } from "./netlink_writer.ts";
import { nftAttributes } from "./nft_message.ts";
import type { NetworkEvent } from "./network_event.ts";

const RECEIVED_BYTES = 64 * 1024;
/** More than these are left for the next look, so that a flood does not hold the loop. */
const MOST_MESSAGES = 256;
/** When it is known that rules are lost, what else has happened to them is not read: a flush is an event for each rule. */
const MOST_DROPPED = 16 * 1024;

const RULE_GROUPS = [NETLINK.NFNLGRP_NFTABLES];
const LINK_GROUPS = [
  NETLINK.RTNLGRP_LINK,
  NETLINK.RTNLGRP_IPV4_IFADDR,
  NETLINK.RTNLGRP_IPV6_IFADDR,
  NETLINK.RTNLGRP_IPV4_NETCONF,
  NETLINK.RTNLGRP_IPV6_NETCONF,
];

/** NETCONFA_IFINDEX_ALL, -1. */
const ALL_LINKS = 0xffff_ffff;

/** Chains come and go in these with each container, of podwire and of others; a new one stops nothing. */
const BUSY_TABLES: ReadonlySet<string> = new Set([
  "nat",
  "mangle",
  "raw",
  "filter",
  "cni_hostport",
  "cni_plugins_masquerade",
]);

/** What one look has found, see {@linkcode NetworkEvent}. */
class Found implements NetworkEvent {
  rules = false;
  readonly links = new Set<string>();
  readonly addresses = new Set<number>();
  forwarding = false;
  isIncomplete = false;

  get isEmpty(): boolean {
    const { rules, links, addresses, forwarding, isIncomplete } = this;
    return !rules && !forwarding && !isIncomplete && links.size + addresses.size === 0;
  }
}

/**
 * The events of the kernel about rules of nftables (those of the iptables that is built on it are such rules too), links,
 * addresses and forwarding, in the namespace where it was opened. It is asked from time to time: a call that waits would occupy a
 * thread, and could not be ended.
 */
export class NetlinkEvents implements Disposable {
  readonly #libc: Libc;
  readonly #sockets: readonly { readonly fd: number; readonly isOfRules: boolean }[];
  readonly #buffer: Bytes = new Uint8Array(RECEIVED_BYTES);
  readonly #from: Bytes = new Uint8Array(NETLINK_SIZES.sockaddr_nl);
  readonly #fromView = new DataView(this.#from.buffer);

  /**
   * Subscribes.
   *
   * @throws {NetlinkError} If the kernel refuses it.
   */
  constructor(libc: Libc) {
    this.#libc = libc;
    const sockets: { readonly fd: number; readonly isOfRules: boolean }[] = [];
    this.#sockets = sockets;
    try {
      sockets.push({ fd: this.#open(NETLINK.NETLINK_ROUTE, LINK_GROUPS), isOfRules: false });
      sockets.push({ fd: this.#open(NETLINK.NETLINK_NETFILTER, RULE_GROUPS), isOfRules: true });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #open(protocol: number, groups: readonly number[]): number {
    const libc = this.#libc;
    const fd = libc.socket(LIBC.AF_NETLINK, LIBC.SOCK_RAW | LIBC.SOCK_CLOEXEC, protocol);
    if (fd < 0) throw failedCall(libc.errno());
    // A socket gets its number with the first message; until then the kernel takes it for its own, and sends it no event.
    const isJoined = libc.send(fd, new NetlinkWriter(NETLINK.NLMSG_NOOP, 0).end().bytes, 0) >= 0 &&
      groups.every((group) =>
        libc.setsockopt(fd, LIBC.SOL_NETLINK, NETLINK.NETLINK_ADD_MEMBERSHIP, group) >= 0
      );
    if (isJoined) return fd;
    const error = failedCall(libc.errno());
    libc.close(fd);
    throw error;
  }

  /** Returns what has happened since the last call; undefined if nothing of interest has. Does not wait. */
  take(): NetworkEvent | undefined {
    const found = new Found();
    for (const { fd, isOfRules } of this.#sockets) {
      const most = () => isOfRules && found.rules ? MOST_DROPPED : MOST_MESSAGES;
      for (let count = 0; count < most() && this.#receive(fd, isOfRules, found); count++);
    }
    return found.isEmpty ? undefined : found;
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#sockets) this.#libc.close(fd);
  }

  /** Reads what has arrived first; returns whether there was anything. */
  #receive(fd: number, isOfRules: boolean, found: Found): boolean {
    const length = this.#libc.recvfrom(fd, this.#buffer, LIBC.MSG_DONTWAIT | LIBC.MSG_TRUNC, this.#from);
    if (length < 0) {
      if (errnoName(this.#libc.errno()) === "EAGAIN") return false;
      // The kernel had no room for all of them.
      found.isIncomplete = true;
      return errnoName(this.#libc.errno()) === "ENOBUFS";
    }
    // A process of the same namespace may write here too; the kernel is number 0.
    if (this.#fromView.getUint32(NETLINK_OFFSETS.sockaddr_nl.nl_pid, true) !== 0) return true;
    if (length > this.#buffer.length) found.isIncomplete = true;
    else if (!isOfRules || !found.rules) this.#read(this.#buffer.subarray(0, length), isOfRules, found);
    return true;
  }

  #read(bytes: Uint8Array, isOfRules: boolean, found: Found): void {
    const reader = new NetlinkReader(bytes);
    for (const message of reader.messages()) {
      if (isOfRules) found.rules ||= isLossOfRules(message, reader);
      else readLinkEvent(message, reader, found);
    }
  }
}

function isLossOfRules(message: NetlinkMessage, reader: NetlinkReader): boolean {
  const { type } = message;
  if (type >> 8 !== NETLINK.NFNL_SUBSYS_NFTABLES) return false;
  switch (type & 0xff) {
    case NETLINK.NFT_MSG_DELTABLE:
    case NETLINK.NFT_MSG_DELCHAIN:
    case NETLINK.NFT_MSG_DELRULE:
      return true;
    case NETLINK.NFT_MSG_NEWCHAIN: {
      let table = "";
      nftAttributes(message, reader, (attribute, start, end) => {
        if (attribute === NETLINK.NFTA_CHAIN_TABLE) table = reader.text(start, end);
      });
      return !BUSY_TABLES.has(table);
    }
    default:
      return false;
  }
}

function readLinkEvent({ type, start, end }: NetlinkMessage, reader: NetlinkReader, found: Found): void {
  switch (type) {
    case NETLINK.RTM_NEWNETCONF:
      found.forwarding ||= isOfAllLinks(start, end, reader);
      return;
    case NETLINK.RTM_DELADDR:
      found.addresses.add(reader.u32(start + NETLINK_OFFSETS.ifaddrmsg.ifa_index, end));
      return;
    case NETLINK.RTM_NEWLINK:
      if ((reader.u32(start + NETLINK_OFFSETS.ifinfomsg.ifi_flags, end) & LIBC.IFF_UP) !== 0) return;
      break;
    case NETLINK.RTM_DELLINK:
      break;
    default:
      return;
  }
  reader.attributes(start + NETLINK_SIZES.ifinfomsg, end, (attribute, start, end) => {
    if (attribute === NETLINK.IFLA_IFNAME) found.links.add(reader.text(start, end));
  });
}

/** A new link has settings of its own, which are an event too. */
function isOfAllLinks(start: number, end: number, reader: NetlinkReader): boolean {
  let isOfAll = false;
  // The structure `netconfmsg` is a family of one byte.
  reader.attributes(start + 4, end, (attribute, start, end) => {
    if (attribute === NETLINK.NETCONFA_IFINDEX) isOfAll = reader.u32(start, end) === ALL_LINKS;
  });
  return isOfAll;
}
