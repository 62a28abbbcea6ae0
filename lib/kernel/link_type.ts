/**
 * The numbers of types of hardware, by the names that the kernel's header has, and the words of `ip` for them. A test
 * compares the numbers with the header.
 */
export const LINK_TYPES = {
  ARPHRD_NETROM: [0, "netrom"],
  ARPHRD_ETHER: [1, "ether"],
  ARPHRD_EETHER: [2, "eether"],
  ARPHRD_AX25: [3, "ax25"],
  ARPHRD_PRONET: [4, "pronet"],
  ARPHRD_CHAOS: [5, "chaos"],
  ARPHRD_IEEE802: [6, "ieee802"],
  ARPHRD_ARCNET: [7, "arcnet"],
  ARPHRD_APPLETLK: [8, "atalk"],
  ARPHRD_DLCI: [15, "dlci"],
  ARPHRD_ATM: [19, "atm"],
  ARPHRD_METRICOM: [23, "metricom"],
  ARPHRD_IEEE1394: [24, "ieee1394"],
  ARPHRD_INFINIBAND: [32, "infiniband"],
  ARPHRD_SLIP: [256, "slip"],
  ARPHRD_CSLIP: [257, "cslip"],
  ARPHRD_SLIP6: [258, "slip6"],
  ARPHRD_CSLIP6: [259, "cslip6"],
  ARPHRD_RSRVD: [260, "rsrvd"],
  ARPHRD_ADAPT: [264, "adapt"],
  ARPHRD_ROSE: [270, "rose"],
  ARPHRD_X25: [271, "x25"],
  ARPHRD_HWX25: [272, "hwx25"],
  ARPHRD_CAN: [280, "can"],
  ARPHRD_PPP: [512, "ppp"],
  ARPHRD_HDLC: [513, "hdlc"],
  ARPHRD_LAPB: [516, "lapb"],
  ARPHRD_DDCMP: [517, "ddcmp"],
  ARPHRD_RAWHDLC: [518, "rawhdlc"],
  ARPHRD_TUNNEL: [768, "ipip"],
  ARPHRD_TUNNEL6: [769, "tunnel6"],
  ARPHRD_FRAD: [770, "frad"],
  ARPHRD_SKIP: [771, "skip"],
  ARPHRD_LOOPBACK: [772, "loopback"],
  ARPHRD_LOCALTLK: [773, "ltalk"],
  ARPHRD_FDDI: [774, "fddi"],
  ARPHRD_BIF: [775, "bif"],
  ARPHRD_SIT: [776, "sit"],
  ARPHRD_IPDDP: [777, "ip/ddp"],
  ARPHRD_IPGRE: [778, "gre"],
  ARPHRD_PIMREG: [779, "pimreg"],
  ARPHRD_HIPPI: [780, "hippi"],
  ARPHRD_ASH: [781, "ash"],
  ARPHRD_ECONET: [782, "econet"],
  ARPHRD_IRDA: [783, "irda"],
  ARPHRD_FCPP: [784, "fcpp"],
  ARPHRD_FCAL: [785, "fcal"],
  ARPHRD_FCPL: [786, "fcpl"],
  ARPHRD_FCFABRIC: [787, "fcfb0"],
  ARPHRD_IEEE802_TR: [800, "tr"],
  ARPHRD_IEEE80211: [801, "ieee802.11"],
  ARPHRD_IEEE80211_PRISM: [802, "ieee802.11/prism"],
  ARPHRD_IEEE80211_RADIOTAP: [803, "ieee802.11/radiotap"],
  ARPHRD_IEEE802154: [804, "ieee802.15.4"],
  ARPHRD_IEEE802154_MONITOR: [805, "ieee802.15.4/monitor"],
  ARPHRD_PHONET: [820, "phonet"],
  ARPHRD_PHONET_PIPE: [821, "phonet_pipe"],
  ARPHRD_CAIF: [822, "caif"],
  ARPHRD_IP6GRE: [823, "gre6"],
  ARPHRD_NETLINK: [824, "netlink"],
  ARPHRD_6LOWPAN: [825, "6lowpan"],
  ARPHRD_VSOCKMON: [826, "vsockmon"],
  ARPHRD_NONE: [0xfffe, "none"],
  ARPHRD_VOID: [0xffff, "void"],
} as const;

const WORDS = new Map<number, string>(Object.values(LINK_TYPES));

/** The types whose hardware address is an IP address, if it has so many bytes. */
export const PRINTED_TYPES: Readonly<Record<number, number>> = {
  [LINK_TYPES.ARPHRD_TUNNEL[0]]: 4,
  [LINK_TYPES.ARPHRD_SIT[0]]: 4,
  [LINK_TYPES.ARPHRD_IPGRE[0]]: 4,
  [LINK_TYPES.ARPHRD_TUNNEL6[0]]: 16,
  [LINK_TYPES.ARPHRD_IP6GRE[0]]: 16,
};

/** Returns the word of `ip` for a type of hardware. */
export function linkType(type: number): string {
  return WORDS.get(type) ?? `[${type}]`;
}
