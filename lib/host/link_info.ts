import { objectsIn } from "./ip_batch.ts";

/** A network interface as `ip -json` shows it; which facts it shows depends on the command and its flags. */
export interface LinkInfo {
  readonly name: string;
  /** Alternative names, which the kernel keeps unique too. */
  readonly altNames: readonly string[];
  /** In its namespace, for as long as the interface exists; 0 if not shown. */
  readonly index: number;
  /** The index of the other end of a veth pair, in its own namespace. */
  readonly peerIndex: number | undefined;
  /** The interface that it is on, or the other end of a veth pair, if that is in the same namespace; empty if none. */
  readonly parent: string;
  /** The hardware address. For a tunnel it is the address of its end; empty if there is none. */
  readonly mac: string;
  /** The bridge that it is a port of; empty if none. */
  readonly master: string;
  /** What a port of a bridge may do; undefined for others, and unless `ip` runs with `-d`. */
  readonly port?: BridgePortFlags | undefined;
  /** As in `veth` or `bridge`; empty for a device of the machine, and unless `ip` runs with `-d`. */
  readonly kind: string;
  /** Of a macvlan or an ipvlan, as in `bridge` or `l2`; empty for others, and unless `ip` runs with `-d`. */
  readonly mode: string;
  /** Of a vlan; undefined for others, and unless `ip` runs with `-d`. */
  readonly vlanId: number | undefined;
  /** The table of a VRF; undefined for others, and unless `ip` runs with `-d`. */
  readonly vrfTable: number | undefined;
  /** Whether it is a bridge that keeps VLANs apart; false unless `ip` runs with `-d`. */
  readonly filtersVlans: boolean;
  /** As in `ether` or `loopback`. */
  readonly type: string;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly isPromiscuous: boolean;
  /** Whether it takes the packets of all multicast groups. */
  readonly isAllMulticast: boolean;
  /** So many packets may wait to be sent. */
  readonly txQueueLength: number;
  readonly operState: string;
  readonly alias: string;
  readonly addresses: readonly LinkAddress[];
  /** Absent unless it was asked for. */
  readonly traffic?: LinkTraffic;
}

/** What a port of a bridge may do. */
export interface BridgePortFlags {
  /** Whether what comes in through it may leave through it. */
  readonly hairpin: boolean;
  /** Whether it reaches only ports that are not isolated; undefined for a kernel that does not know that. */
  readonly isolated: boolean | undefined;
}

/** What an interface has carried since it exists, as it sees it: what is sent to a pod, the interface in it receives. */
export interface LinkTraffic {
  /** What it has received. */
  readonly rx: LinkCounters;
  /** What it has sent. */
  readonly tx: LinkCounters;
}

/** Numbers of one direction. */
export interface LinkCounters {
  /** Of all packets, with their headers. */
  readonly bytes: number;
  /** All that got through. */
  readonly packets: number;
  /** Packets that were lost because something was wrong with them or with the interface. */
  readonly errors: number;
  /** Packets that were dropped, as where a queue is full. */
  readonly drops: number;
}

/** An address of an interface as the kernel shows it. */
export interface LinkAddress {
  /** With prefix length. */
  readonly address: string;
  /** How far it is valid: `global`, `link` for addresses that only this link knows, `host`. */
  readonly scope: string;
  /**
   * `tentative` while the kernel looks for another owner on the link, `duplicate` if it has found one. @default {usable}
   */
  readonly state?: "tentative" | "duplicate";
}

/** Reads the interfaces out of a list that `ip -json` printed. */
export function parseLinks(shown: unknown): readonly LinkInfo[] {
  const links = Array.isArray(shown) ? objectsIn(shown) : [];
  return links.filter(({ ifname }) => typeof ifname === "string").map(linkOf);
}

function linkOf(shown: Readonly<Record<string, unknown>>): LinkInfo {
  const text = (key: string) => String(shown[key] ?? "");
  const list = (key: string) => Array.isArray(shown[key]) ? shown[key] : [];
  const flags = list("flags");
  const info = shown.linkinfo as Partial<Readonly<Record<string, unknown>>> | undefined;
  const kind = String(info?.info_kind ?? "");
  const [data = {}] = objectsIn([info?.info_data]);
  return {
    name: text("ifname"),
    altNames: list("altnames").map(String),
    index: Number(shown.ifindex ?? 0),
    peerIndex: shown.link_index === undefined ? undefined : Number(shown.link_index),
    parent: text("link"),
    mac: text("address"),
    master: text("master"),
    port: info?.info_slave_kind === "bridge" ? portFlagsOf(info.info_slave_data) : undefined,
    kind,
    mode: kind === "macvlan" || kind === "ipvlan" ? String(data.mode ?? "") : "",
    vlanId: kind === "vlan" && typeof data.id === "number" ? data.id : undefined,
    vrfTable: kind === "vrf" && typeof data.table === "number" ? data.table : undefined,
    filtersVlans: kind === "bridge" && Number(data.vlan_filtering ?? 0) !== 0,
    type: text("link_type"),
    mtu: Number(shown.mtu ?? 0),
    isUp: flags.includes("UP"),
    isPromiscuous: flags.includes("PROMISC"),
    isAllMulticast: flags.includes("ALLMULTI"),
    txQueueLength: Number(shown.txqlen ?? 0),
    operState: text("operstate"),
    alias: text("ifalias"),
    addresses: list("addr_info").flatMap(({ local, prefixlen, scope = "global", tentative, dadfailed }) => {
      if (local === undefined) return [];
      const state = dadfailed ? "duplicate" as const : "tentative" as const;
      return [{ address: `${local}/${prefixlen}`, scope, ...(tentative || dadfailed ? { state } : {}) }];
    }),
    ...trafficOf(shown.stats64 ?? shown.stats),
  };
}

function portFlagsOf(shown: unknown): BridgePortFlags {
  const [{ hairpin, isolated } = {}] = objectsIn([shown]);
  return { hairpin: hairpin === true, isolated: typeof isolated === "boolean" ? isolated : undefined };
}

/** Reads the counters, which `ip` only shows with `-s`. */
function trafficOf(shown: unknown): Pick<LinkInfo, "traffic"> {
  const [stats] = objectsIn([shown]);
  if (stats === undefined) return {};
  const [rx, tx] = [stats.rx, stats.tx].map((direction): LinkCounters => {
    const [counted = {}] = objectsIn([direction]);
    const { bytes = 0, packets = 0, errors = 0, dropped = 0 } = counted;
    return { bytes: Number(bytes), packets: Number(packets), errors: Number(errors), drops: Number(dropped) };
  });
  return rx === undefined || tx === undefined ? {} : { traffic: { rx, tx } };
}

/** Describes what an interface is, with its article, as in "a veth" or "a physical link"; needs `ip -d`. */
export function describeLink({ kind, type }: Pick<LinkInfo, "kind" | "type">): string {
  if (kind !== "") return `${/^[aeio]/.test(kind) ? "an" : "a"} ${kind}`;
  return type === "loopback" ? "a loopback link" : "a physical link";
}
