import { type Cidr, formatCidr, formatIp, type Ip } from "../cni/address.ts";
import type { LinkInfo } from "../host/link_info.ts";
import type { LinkType } from "./link_kind.ts";
import type { SetNeighbor } from "./neighbor.ts";

export {
  IPVLAN_MODES,
  type IpvlanMode,
  type LinkType,
  MACVLAN_MODES,
  type MacvlanMode,
} from "./link_kind.ts";

/**
 * One change of a network namespace, or one question about it, as data: the request does not depend on who carries it out.
 */
export type Operation = Change | Question;

/** An operation that answers nothing. */
export type Change =
  | CreateVeth
  | CreateBridge
  | CreateLink
  | SetPort
  | SetLink
  | RemoveLink
  | AddAddress
  | RemoveAddress
  | SetNeighbor
  | AddRoute
  | RemoveRoute
  | AddRule
  | RemoveRule;

/** An operation that shows interfaces, routes or rules. */
export type Question = ShowLink | ShowLinks | ShowRoutes | FindRoute | ShowRules;

/** Makes a pair of virtual interfaces; the first end is up, and the other one, which may be in another namespace, is down. */
export interface CreateVeth {
  readonly kind: "create-veth";
  readonly name: string;
  readonly mac: string;
  /** Of both ends, in bytes. @default {that of the kernel} */
  readonly mtu?: number | undefined;
  /** The bridge whose port the first end is. @default none */
  readonly bridge?: string | undefined;
  readonly peer: {
    readonly name: string;
    readonly mac: string;
    /** The path of its namespace. @default {that of the first end} */
    readonly netns?: string | undefined;
  };
}

/** Makes a bridge, down and without ports. */
export interface CreateBridge {
  readonly kind: "create-bridge";
  readonly name: string;
  readonly mac: string;
  /** In bytes. @default {that of the kernel} */
  readonly mtu?: number | undefined;
  /** Whether a frame passes only between ports of its VLAN. @default {false} */
  readonly filtersVlans?: boolean | undefined;
}

/**
 * Makes an interface, down. It may be in another namespace than its master, which is where the operation takes effect. Older
 * kernels, such as 6.1, refuse it then if the namespace of the master has an interface of that name.
 */
export interface CreateLink {
  readonly kind: "create-link";
  readonly name: string;
  readonly link: LinkType;
  /** @default {the kernel chooses, or it is that of the master} */
  readonly mac?: string | undefined;
  /** In bytes. @default {that of the kernel, or of the master} */
  readonly mtu?: number | undefined;
  /** The path of the namespace of the interface. @default {that of the master} */
  readonly netns?: string | undefined;
}

/** Changes how a bridge treats one of its ports. */
export interface SetPort {
  readonly kind: "set-port";
  readonly name: string;
  /** Whether a frame may leave through the port on which it came. */
  readonly hairpin: boolean;
  /** Whether the port reaches only ports that are not isolated. */
  readonly isolated: boolean;
}

/** Changes an interface; what is not named stays as it is. */
export interface SetLink {
  readonly kind: "set-link";
  readonly name: string;
  /** Its name afterwards; it must be down. */
  readonly newName?: string | undefined;
  /**
   * The path of the namespace that it is in afterwards, where it is down and without addresses. It gets its new name
   * there, and keeps the old one here until it leaves.
   */
  readonly netns?: string | undefined;
  /** The bridge or VRF whose port it is afterwards; empty for none. */
  readonly master?: string | undefined;
  readonly up?: boolean | undefined;
  readonly promiscuous?: boolean | undefined;
  readonly allMulticast?: boolean | undefined;
  /** In bytes. */
  readonly mtu?: number | undefined;
  /** In packets. */
  readonly txQueueLength?: number | undefined;
  readonly mac?: string | undefined;
  readonly alias?: string | undefined;
}

/** Removes an interface, and with it the other end of its pair. */
export interface RemoveLink {
  readonly kind: "remove-link";
  readonly name: string;
}

/**
 * Gives an interface an address. An IPv6 address is usable at once unless duplicates are searched for; an IPv4 address gets
 * the broadcast address of its network, if the network is large enough to have one.
 */
export interface AddAddress {
  readonly kind: "add-address";
  readonly device: string;
  readonly address: Cidr;
  /** Whether it may be there already. @default {false} */
  readonly replace?: boolean | undefined;
  /** Whether the kernel looks for another owner of an IPv6 address on the link before it is used. @default {false} */
  readonly detectsDuplicates?: boolean | undefined;
}

/** Takes an address from an interface. */
export interface RemoveAddress {
  readonly kind: "remove-address";
  readonly device: string;
  readonly address: Cidr;
}

/** Adds a route before others to the same network; it is kept with them, as `ip route prepend` does. */
export interface AddRoute {
  readonly kind: "add-route";
  readonly device: string;
  /** Bits after the prefix do not count. */
  readonly dst: Cidr;
  /** @default {undefined} (the network is on the link) */
  readonly gateway?: Ip | undefined;
  readonly metric?: number | undefined;
  readonly table?: number | undefined;
  readonly scope?: number | undefined;
  /** The own address that packets get which have none yet. @default {the kernel chooses} */
  readonly source?: Ip | undefined;
  /** Of the path, in bytes. */
  readonly mtu?: number | undefined;
  /** The largest segment that TCP announces, in bytes. */
  readonly advmss?: number | undefined;
  /** Who made it, by its number. @default {3} (an administrator) */
  readonly protocol?: number | undefined;
  /** Whether it takes the place of one to the same network with the same metric. @default {false} */
  readonly replace?: boolean | undefined;
}

/** Where a route leads next. */
export interface NextHop {
  readonly device: string;
  /** It may be of the other family. @default {undefined} (the network is on the link) */
  readonly gateway?: Ip | undefined;
  /** Its share of the traffic, if there are several. @default {1} */
  readonly weight?: number | undefined;
}

/** Removes a route. */
export interface RemoveRoute {
  readonly kind: "remove-route";
  readonly dst: Cidr;
  /** @default {254} (the main table) */
  readonly table?: number | undefined;
  /** @default {any} */
  readonly metric?: number | undefined;
  /** In IPv4 all that the route has. In IPv6 those to remove; each of them is a route of its own. */
  readonly hops: readonly NextHop[];
}

/** A route of a namespace. */
export interface RouteInfo {
  /** Undefined if the destination is not a network. */
  readonly dst: Cidr | undefined;
  /** Whether it leads somewhere: others reject packets, or are the kernel's for its own addresses. */
  readonly isUnicast: boolean;
  /** Whether the kernel took it from the advertisement of a router: it comes back by itself. */
  readonly isAdvertised: boolean;
  /** Whether it is in the table that the kernel uses unless a rule names another one. */
  readonly isMain: boolean;
  /** Undefined if `ip` gives it another name: it gives numbers only to a call without interfaces and with rules. */
  readonly table: number | undefined;
  readonly metric: number | undefined;
  /** Who made it, by its number; undefined as for the table. */
  readonly protocol: number | undefined;
  /** Undefined as for the table. */
  readonly scope: number | undefined;
  /** The own address that packets get which have none yet. */
  readonly source: Ip | undefined;
  /** Of the path, in bytes. */
  readonly mtu: number | undefined;
  /** The largest segment that TCP announces, in bytes. */
  readonly advmss: number | undefined;
  /** If there are several, they share the traffic. */
  readonly hops: readonly NextHop[];
}

/** Shows one interface, with its addresses. Alternative names count too. It fails if there is none with that name. */
export interface ShowLink {
  readonly kind: "show-link";
  readonly name: string;
}

/** Shows the interfaces of the namespace. */
export interface ShowLinks {
  readonly kind: "show-links";
  /** Only those of this kind, without what a port of a bridge may do. @default {all} */
  readonly of?: "veth" | "ifb" | undefined;
  /** Only the ports of this bridge; it fails if there is no such interface. @default {all} */
  readonly bridge?: string | undefined;
  /** Whether to show their addresses too. @default {false} */
  readonly addresses?: boolean | undefined;
  /** Whether to count what they have carried. @default {false} */
  readonly traffic?: boolean | undefined;
}

/** Shows the routes of one family in all tables. */
export interface ShowRoutes {
  readonly kind: "show-routes";
  readonly family: 4 | 6;
  /** Only default routes. @default {false} */
  readonly defaults?: boolean | undefined;
}

/** Lets the packets of a source look for their way in a table, before they look in the main one. */
export interface AddRule {
  readonly kind: "add-rule";
  readonly source: Cidr;
  readonly table: number;
  /** @default {before the other ones that were added so} */
  readonly priority?: number | undefined;
}

/** Removes such a rule. */
export interface RemoveRule {
  readonly kind: "remove-rule";
  readonly source: Cidr;
  readonly table: number;
  /** @default {any} */
  readonly priority?: number | undefined;
}

/** A rule that says in which table some packets look for their way. */
export interface RuleInfo {
  readonly priority: number;
  /** Undefined for all. */
  readonly source: Cidr | undefined;
  /** Undefined as in {@linkcode RouteInfo}, and if it leads to no table. */
  readonly table: number | undefined;
  /** Whether it looks at the source alone, and leads to a table. */
  readonly isBySource: boolean;
}

/** Shows the rules of one family. */
export interface ShowRules {
  readonly kind: "show-rules";
  readonly family: 4 | 6;
}

/**
 * Finds the interface through which packets of this namespace leave to an address, by all rules and tables. It fails if
 * there is none.
 */
export interface FindRoute {
  readonly kind: "find-route";
  readonly to: Ip;
}

/** What an operation answers. */
export type Answer<T extends Operation> = T extends ShowLink ? LinkInfo
  : T extends ShowLinks ? readonly LinkInfo[]
  : T extends ShowRoutes ? readonly RouteInfo[]
  : T extends ShowRules ? readonly RuleInfo[]
  : T extends FindRoute ? string
  : undefined;

/** What several operations answer, in their order. */
export type Answers<T extends readonly Operation[]> = { readonly [K in keyof T]: Answer<T[K]> };

/** Says what an operation does, with an infinitive, as in `remove the interface "veth0"`. */
export function describeOperation(operation: Operation): string {
  const quoted = (name: string) => JSON.stringify(name);
  switch (operation.kind) {
    case "create-veth":
      return `create the veth ${quoted(operation.name)}` +
        `${operation.bridge === undefined ? "" : ` on bridge ${quoted(operation.bridge)}`} with ` +
        `${quoted(operation.peer.name)}${
          operation.peer.netns === undefined ? "" : ` in "${operation.peer.netns}"`
        }`;
    case "create-bridge":
      return `create the bridge ${quoted(operation.name)}${
        operation.filtersVlans ? " that keeps VLANs apart" : ""
      }`;
    case "create-link": {
      const { link, name, netns } = operation;
      const on = "master" in link ? ` on ${quoted(link.master)}` : "";
      return `create the ${link.type} ${quoted(name)}${on}${netns === undefined ? "" : ` in "${netns}"`}`;
    }
    case "set-port":
      return `change the bridge port ${quoted(operation.name)}`;
    case "set-link": {
      const { name, netns } = operation;
      return netns === undefined
        ? `change the interface ${quoted(name)}`
        : `move the interface ${quoted(name)} to "${netns}"`;
    }
    case "remove-link":
      return `remove the interface ${quoted(operation.name)}`;
    case "add-address":
      return `add the address ${formatCidr(operation.address)} to ${quoted(operation.device)}`;
    case "remove-address":
      return `remove the address ${formatCidr(operation.address)} from ${quoted(operation.device)}`;
    case "set-neighbor":
      return `set the neighbor ${formatIp(operation.ip)} on ${quoted(operation.device)}`;
    case "add-route":
      return `add the route to ${formatCidr(operation.dst)} through ${quoted(operation.device)}`;
    case "remove-route":
      return `remove the route to ${formatCidr(operation.dst)}`;
    case "add-rule":
      return `add the rule for packets from ${formatCidr(operation.source)}`;
    case "remove-rule":
      return `remove the rule for packets from ${formatCidr(operation.source)}`;
    case "show-link":
      return `show the interface ${quoted(operation.name)}`;
    case "show-links":
      return "show the interfaces";
    case "show-routes":
      return `show the routes of IPv${operation.family}`;
    case "show-rules":
      return `show the rules of IPv${operation.family}`;
    case "find-route":
      return `find the route to ${formatIp(operation.to)}`;
  }
}
