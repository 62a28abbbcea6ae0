import type { CniArgs } from "../plugin/invocation.ts";
import type { JsonObject } from "../cni/json.ts";
import type { PortProtocol } from "../state/host_port.ts";

/** A port of the host that leads to one of the pod. */
export interface PortMapping {
  /** Empty for all addresses of the host. */
  readonly hostIP: string;
  /** From 1 to 65535. */
  readonly hostPort: number;
  /** From 1 to 65535. */
  readonly containerPort: number;
  /** What is forwarded. */
  readonly protocol: PortProtocol;
}

/** Limits in bits per second; bursts in bits. */
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

/** Addresses that one may be chosen from. */
export interface IpRange {
  /** In CIDR notation, without host bits. */
  readonly subnet: string;
  /** The first that may be chosen. @default {the first of the subnet} */
  readonly rangeStart?: string | undefined;
  /** The last that may be chosen. @default {the last of the subnet} */
  readonly rangeEnd?: string | undefined;
  /** In the subnet; never chosen. @default {the plugin's choice} */
  readonly gateway?: string | undefined;
}

/** How names are to be looked up. */
export interface PodDns {
  /** Addresses of name servers. */
  readonly servers?: readonly string[] | undefined;
  /** Domains in which a short name is looked for. */
  readonly searches?: readonly string[] | undefined;
  /** Options of the resolver, as `ndots:2`. */
  readonly options?: readonly string[] | undefined;
}

/** What an attachment can ask of the plugins of its network. */
export interface NetworkSettings {
  /** Addresses that it must get, as `10.1.0.5` or, with the prefix that it must have, as `10.1.0.5/24`. */
  readonly ips?: readonly string[] | undefined;
  /** The MAC address that it must get. */
  readonly mac?: string | undefined;
  /** Ports of the host that lead to the pod. */
  readonly publish?: readonly PortMapping[] | undefined;
  /** Limits of its traffic. */
  readonly bandwidth?: Bandwidth | undefined;
  /** What its addresses are chosen from: one for each list, out of any range of the list. */
  readonly ipRanges?: readonly (readonly IpRange[])[] | undefined;
  /** How names are to be looked up. */
  readonly dns?: PodDns | undefined;
  /** Other names of the pod on the network. */
  readonly aliases?: readonly string[] | undefined;
  /** The PCI address, or another ID, of the device that the network hands to the pod. */
  readonly deviceID?: string | undefined;
  /** Handed to plugins that declare `cgroupPath`. */
  readonly cgroupPath?: string | undefined;
  /** Handed to plugins that declare `io.kubernetes.cri.pod-annotations`. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** Pairs of `CNI_ARGS`, in their order. */
  readonly args?: CniArgs | undefined;
  /** Capability arguments by name, for what has no member of its own. */
  readonly capabilities?: JsonObject | undefined;
}

/**
 * A network that a pod wants, by name, and what it wants of it. Beside that it gets the pod's `args`, before its own,
 * the pod's `annotations`, where it has no other of the same name, and the pod's `cgroupPath`, if it has none.
 */
export interface WantedNetwork extends NetworkSettings {
  /** The name in its configuration. */
  readonly name: string;
  /** The interface inside the pod. @default {the lowest free of `eth0`, `eth1`, ...} */
  readonly ifName?: string | undefined;
  /**
   * Makes its default route the pod's: `true` in each family in which it has one, or else a gateway; or through these
   * gateways, one a family. In other families nothing changes.
   * @default {the first network that has a default route, in each family}
   */
  readonly defaultRoute?: true | readonly string[] | undefined;
}

/**
 * A pod and what it wants of its networks. Of its own settings `args`, `annotations` and `cgroupPath` are for all
 * networks, the others for the first alone, also where the same network follows once more: one address cannot be that
 * of two interfaces.
 */
export interface PodRequest extends NetworkSettings {
  /** The ID that plugins know the pod by. */
  readonly containerId: string;
  /** The name of the pod. */
  readonly name: string;
  /** Of the name, as in Kubernetes. */
  readonly namespace: string;
  /** As in Kubernetes. */
  readonly uid: string;
  /** How often the pod was made anew before, as in Kubernetes; plugins are not told. @default {0} */
  readonly attempt?: number | undefined;
  /** The path of its network namespace. */
  readonly netns: string;
  /** In the order of attachment; `"none"` for nothing but `lo`. @default {the default network} */
  readonly networks?: readonly WantedNetwork[] | "none" | undefined;
}
