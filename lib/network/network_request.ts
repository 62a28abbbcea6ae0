/** The drivers: the plugin that makes the interface of a container. */
export const DRIVERS = ["bridge", "macvlan", "ipvlan", "ptp"] as const;

/** One of {@linkcode DRIVERS}. */
export type NetworkDriver = typeof DRIVERS[number];

/** The largest packet that a link can have, in bytes. */
export const LARGEST_MTU = 65_535;

/** The highest number of a VLAN (IEEE 802.1Q). */
export const LARGEST_VLAN = 4094;

/** A network to create. */
export interface NetworkRequest {
  /** Its name, as in its configuration: letters, digits, `_`, `.` and `-`. */
  readonly name: string;
  /** The plugin that makes the interfaces of containers. @default {"bridge"} */
  readonly driver?: NetworkDriver | undefined;
  /**
   * In CIDR notation, without host bits; a container gets one address of each.
   * @default {a free one of IPv4 for `bridge` and `ptp`; `macvlan` and `ipvlan` need that of their parent}
   */
  readonly subnets?: readonly string[] | undefined;
  /** The networks of the node's pods, as Kubernetes assigns them: more subnets, or what fills the template. */
  readonly podCIDRs?: readonly string[] | undefined;
  /** A configuration list with places for `podCIDRs`, see `fillTemplate`; the other members but the name are not used then. */
  readonly template?: string | undefined;
  /** Addresses, each in one of the subnets. @default {the first address of each subnet} */
  readonly gateways?: readonly string[] | undefined;
  /** What addresses are chosen from, as `10.1.0.10-10.1.0.99` or in CIDR notation, each in one of the subnets. @default {all of it} */
  readonly ranges?: readonly string[] | undefined;
  /** Whether it has a subnet of IPv6 too, chosen if no subnet of IPv6 is given. @default {false} */
  readonly ipv6?: boolean | undefined;
  /** Whether containers reach only each other and this host: they get no default route. @default {false} */
  readonly internal?: boolean | undefined;
  /**
   * Whether its containers and those of other isolated networks, to which the embedded one belongs, reach only published ports
   * of each other. @default {false}
   */
  readonly isolate?: boolean | undefined;
  /** Whether an internal network may publish ports of the host all the same. @default {false} */
  readonly publishable?: boolean | undefined;
  /** The largest packet, in bytes. @default {that of the kernel, or of the parent} */
  readonly mtu?: number | undefined;
  /** The VLAN of the ports of a bridge, 1 to 4094. @default {none} */
  readonly vlan?: number | undefined;
  /** Addresses of name servers. @default {those of the IPAM plugin} */
  readonly dns?: readonly string[] | undefined;
  /** Options of the driver, see {@linkcode DRIVER_OPTIONS}. */
  readonly options?: Readonly<Record<string, string>> | undefined;
  /** Networks of this host that a subnet is chosen from, in CIDR notation. @default {private ones} */
  readonly pools?: readonly string[] | undefined;
  /** Whether its subnets may overlap with routes and other networks. @default {false} */
  readonly allowOverlap?: boolean | undefined;
}

/** An option of a driver. */
export interface DriverOption {
  /** What it is for, in a line. */
  readonly help: string;
  /** The values that it takes. @default {any} */
  readonly values?: readonly string[] | undefined;
}

const YES_OR_NO = ["true", "false"];
const IPAM: DriverOption = {
  help: "what gives addresses: host-local, dhcp or none",
  values: ["host-local", "dhcp", "none"],
};
const MASQUERADE: DriverOption = {
  help: "whether packets to other networks have the address of the host, or of which family (default true)",
  values: [...YES_OR_NO, "ipv4", "ipv6"],
};
const PARENT: DriverOption = { help: "the interface of the host (default that of the default route)" };

/** The options of each driver. */
export const DRIVER_OPTIONS: Readonly<Record<NetworkDriver, Readonly<Record<string, DriverOption>>>> = {
  bridge: {
    bridge: { help: "the bridge of the host (default one of its own)" },
    hairpin: {
      help: "whether a container reaches its own published ports (default true)",
      values: YES_OR_NO,
    },
    isolated: { help: "whether containers cannot reach each other (default false)", values: YES_OR_NO },
    masquerade: MASQUERADE,
    ipam: IPAM,
  },
  macvlan: {
    parent: PARENT,
    mode: { help: "how containers reach each other", values: ["bridge", "private", "vepa", "passthru"] },
    ipam: IPAM,
  },
  ipvlan: {
    parent: PARENT,
    mode: { help: "the layer that it works on", values: ["l2", "l3", "l3s"] },
    // A DHCP server cannot answer to one of several containers with the MAC address of the parent.
    ipam: { help: "what gives addresses: host-local or none", values: ["host-local", "none"] },
  },
  ptp: { masquerade: MASQUERADE },
};
