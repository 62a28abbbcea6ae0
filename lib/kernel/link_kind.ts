/** How a macvlan treats the packets between the interfaces on its master, in the order of the kernel's bits. */
export const MACVLAN_MODES = ["private", "vepa", "bridge", "passthru", "source"] as const;

/** One of {@linkcode MACVLAN_MODES}. */
export type MacvlanMode = typeof MACVLAN_MODES[number];

/** What an ipvlan decides by, in the order of the kernel's numbers. */
export const IPVLAN_MODES = ["l2", "l3", "l3s"] as const;

/** One of {@linkcode IPVLAN_MODES}. */
export type IpvlanMode = typeof IPVLAN_MODES[number];

/** A kind of interface, with what is special about it; `master` is the interface that it is on. */
export type LinkType =
  | {
    readonly type: "macvlan";
    readonly master: string;
    readonly mode: MacvlanMode;
    /** So many packets to all may wait; the longest one of the interfaces on the master counts. @default {that of the kernel} */
    readonly broadcastQueue?: number | undefined;
  }
  | { readonly type: "ipvlan"; readonly master: string; readonly mode: IpvlanMode }
  | { readonly type: "vlan"; readonly master: string; readonly id: number }
  | { readonly type: "dummy" }
  | { readonly type: "ifb" }
  /** Its ports look for their way in a table of their own. */
  | { readonly type: "vrf"; readonly table: number };
