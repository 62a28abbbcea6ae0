import type { JsonObject } from "../cni/json.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import type { PortProtocol } from "../cni/port_protocol.ts";

/** A port of the host that leads to one of the pod. */
export interface PortMapping {
  /** The address of the host; empty for all of them. @default {""} */
  readonly hostIP?: string | undefined;
  /** From 1 to 65535; `"auto"` for one that podwire chooses, and keeps for the pod. */
  readonly hostPort: number | "auto";
  /** From 1 to 65535. */
  readonly containerPort: number;
  /** The protocol that is forwarded. @default {"tcp"} */
  readonly protocol?: PortProtocol | undefined;
}

/** Limits in bits per second, and bursts in bits. */
export interface Bandwidth {
  /** Towards the pod, in bits per second. */
  readonly ingressRate?: number | undefined;
  /** Towards the pod, in bits. @default {a tenth of a second of the rate} */
  readonly ingressBurst?: number | undefined;
  /** From the pod, in bits per second. */
  readonly egressRate?: number | undefined;
  /** From the pod, in bits. @default {a tenth of a second of the rate} */
  readonly egressBurst?: number | undefined;
}

/** A range that an address may be chosen from. */
export interface IpRange {
  /** In CIDR notation, without host bits. */
  readonly subnet: string;
  /** The first address that may be chosen. @default {the first of the subnet} */
  readonly rangeStart?: string | undefined;
  /** The last address that may be chosen. @default {the last of the subnet} */
  readonly rangeEnd?: string | undefined;
  /** An address of the subnet that is never chosen. @default {the plugin's choice} */
  readonly gateway?: string | undefined;
}

/** How the pod looks up names. */
export interface PodDns {
  /** Addresses of name servers. */
  readonly servers?: readonly string[] | undefined;
  /** Domains in which a short name is looked for. */
  readonly searches?: readonly string[] | undefined;
  /** Options of the resolver, such as `ndots:2`. */
  readonly options?: readonly string[] | undefined;
}

/**
 * What an attachment can ask of the plugins of its network. `SETTINGS` in `settings.ts` says of each member how it is
 * written, checked and carried.
 */
export interface NetworkSettings {
  /** Addresses that it must get, as `10.1.0.5` or, with the prefix that it must have, as `10.1.0.5/24`. */
  readonly ips?: readonly string[] | undefined;
  /** The MAC address that it must get. */
  readonly mac?: string | undefined;
  /** Ports of the host that lead to the pod, as objects or as `[HOSTIP:][HOSTPORT]:PORT[/PROTO]`. */
  readonly publish?: readonly (PortMapping | string)[] | undefined;
  /** Limits of its traffic. */
  readonly bandwidth?: Bandwidth | undefined;
  /** The ranges that its addresses are chosen from: one address for each list, out of any range of the list. */
  readonly ipRanges?: readonly (readonly IpRange[])[] | undefined;
  /** How the pod looks up names. */
  readonly dns?: PodDns | undefined;
  /** Other names of the pod on the network. */
  readonly aliases?: readonly string[] | undefined;
  /** The PCI address, or another ID, of the device that the network hands to the pod. */
  readonly deviceID?: string | undefined;
  /** The path of the pod's cgroup, for plugins that declare the capability `cgroupPath`. */
  readonly cgroupPath?: string | undefined;
  /** Annotations of the pod, for plugins that declare the capability `io.kubernetes.cri.pod-annotations`. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** Pairs of `CNI_ARGS`, in their order. */
  readonly args?: CniArgs | undefined;
  /** Capability arguments by name, for capabilities that have no member of their own. */
  readonly capabilities?: JsonObject | undefined;
}

/**
 * A network that a pod wants, by name, and the settings of that network. It also gets the `args` of the pod, before its
 * own; the `annotations` of the pod, unless it has its own of that name; and the `cgroupPath` of the pod, unless it has
 * its own.
 */
export interface WantedNetwork extends NetworkSettings {
  /** The name in its configuration. */
  readonly name: string;
  /** The interface inside the pod. @default {the lowest free of `eth0`, `eth1`, ...} */
  readonly ifName?: string | undefined;
  /**
   * Makes the default route of this network that of the pod. With `true`, in each family in which the network has a
   * default route or, if it has none, a gateway. With a list, through these gateways, one for each family. Nothing
   * changes in other families.
   * @default {the first network that has a default route, in each family}
   */
  readonly defaultRoute?: true | readonly string[] | undefined;
  /**
   * Respects default routes of the namespace that are not podwire's. Those of this network yield to them in the same family; if
   * `defaultRoute` asks for one, they yield to it, and come back when the network is detached. Traffic to the subnets in `keep`
   * stays where they led it. With an empty list as `defaultRoute`, all stays as the plugins made it.
   * @default {they stay, beside those of this network}
   */
  readonly foreignRoutes?: { readonly keep: readonly string[] } | undefined;
  /** What is merged over `args.cni` of each of its plugins. @default {nothing} */
  readonly cniArgs?: JsonObject | undefined;
  /**
   * Whether a plugin must declare the capability of each setting, also of one that `CNI_ARGS` carry too: that is the rule for
   * annotations in Kubernetes. @default {false}
   */
  readonly requireCapabilities?: boolean | undefined;
  /** `NAMESPACE/NAME`, by which Kubernetes knows the network. @default {the namespace of the sandbox, and the name} */
  readonly title?: string | undefined;
}

/**
 * What a pod wants of its networks. Its own `args`, `annotations` and `cgroupPath` are for all networks. Its other
 * settings are for the first network alone, even if the same network is named again: two interfaces cannot have one
 * address.
 */
export interface WantedNetworks extends NetworkSettings {
  /** In the order of attachment; `"none"` for nothing but `lo`. @default {the default network} */
  readonly networks?: readonly WantedNetwork[] | "none" | undefined;
  /** How the pod looks up names, for plugins of any of its networks that declare the capability `dns`. @default {nothing} */
  readonly offerDns?: PodDns | undefined;
  /** Whether the built-in portmap maps the ports to publish if no plugin of the first network does. @default {false} */
  readonly mapPorts?: boolean | undefined;
}

/** A pod as plugins know it. */
export interface PodIdentity {
  /** The ID that plugins know the pod by. */
  readonly containerId: string;
  /** The name of the pod. */
  readonly name: string;
  /** The namespace of the name, as in Kubernetes. */
  readonly namespace: string;
  /** The UID of the pod, as in Kubernetes. */
  readonly uid: string;
  /** The path of its network namespace. */
  readonly netns: string;
}

/** A pod and what it wants of its networks. */
export interface PodRequest extends PodIdentity, WantedNetworks {
  /** How often the pod was made before, as in Kubernetes; plugins do not get it. @default {0} */
  readonly attempt?: number | undefined;
}
