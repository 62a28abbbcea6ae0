import type { CniArgs } from "../plugin/invocation.ts";
import { parseIp } from "../spec/address.ts";
import type { NetworkConfigList } from "../spec/config.ts";
import { CniError } from "../spec/error.ts";
import type { JsonObject } from "../spec/json.ts";
import { validateCniArg, validateContainerId, validateInterfaceName } from "../spec/name.ts";
import type { Catalog } from "./catalog.ts";

/** A port of the host that leads to one of the pod. */
export interface PortMapping {
  /** Empty for all addresses of the host. */
  readonly hostIP: string;
  /** From 1 to 65535. */
  readonly hostPort: number;
  /** From 1 to 65535. */
  readonly containerPort: number;
  /** What is forwarded. */
  readonly protocol: "tcp" | "udp" | "sctp";
}

/** Limits in bits per second; bursts in bits. */
export interface Bandwidth {
  /** Towards the pod, in bits per second. */
  readonly ingressRate?: number;
  /** Towards the pod, in bits. */
  readonly ingressBurst?: number;
  /** From the pod, in bits per second. */
  readonly egressRate?: number;
  /** From the pod, in bits. */
  readonly egressBurst?: number;
}

/** A network that a pod wants, by name, and what its interface is to be called. */
export interface WantedNetwork {
  /** The name in its configuration. */
  readonly name: string;
  /** The interface inside the pod. @default {the lowest free of `eth0`, `eth1`, ...} */
  readonly ifName?: string;
}

/** A pod and what it wants of its networks. Addresses, ports, limits and capabilities are those of the first. */
export interface PodRequest {
  /** The ID that plugins know the pod by. */
  readonly containerId: string;
  /** The name of the pod. */
  readonly name: string;
  /** Of the name, as in Kubernetes. */
  readonly namespace: string;
  /** As in Kubernetes. */
  readonly uid: string;
  /** The path of its network namespace. */
  readonly netns: string;
  /** In the order of attachment. @default {the default network} */
  readonly networks?: readonly WantedNetwork[];
  /** Ports of the host that lead to the pod. */
  readonly publish?: readonly PortMapping[];
  /** Addresses that the pod must get, without prefix length. */
  readonly ips?: readonly string[];
  /** The MAC address that the pod must get. */
  readonly mac?: string;
  /** Limits of its traffic. */
  readonly bandwidth?: Bandwidth;
  /** For all networks. */
  readonly args?: CniArgs;
  /** Capability arguments by name, for what has no member of its own. */
  readonly capabilities?: JsonObject;
  /** Handed to plugins that declare `io.kubernetes.cri.pod-annotations`. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** One attachment of a pod, ready to be made. */
export interface PlannedAttachment {
  readonly list: NetworkConfigList;
  readonly ifName: string;
  readonly args: CniArgs;
  readonly capabilityArgs: JsonObject;
}

const LAST_AUTOMATIC = 9999;
const MAC = /^(?:[0-9a-f]{2}(?:([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2})*)|[0-9a-f]{4}(?:\.[0-9a-f]{4})+)$/i;
const MAC_BYTES = [6, 8, 20];

/** As Go's net.ParseMAC: `00:1b:44:11:3a:b7`, `00-1b-...` or `001b.4411.3ab7`. */
function isMac(text: string): boolean {
  return MAC.test(text) && MAC_BYTES.includes(macDigits(text).length / 2);
}

/** The digits of a MAC address, however it is written. */
export function macDigits(text: string): string {
  return text.toLowerCase().replaceAll(/[:.-]/g, "");
}

/**
 * Turns a request into attachments. Everything is looked up and validated here, so nothing has run
 * when something is wrong.
 *
 * @throws {CniError} naming what is wrong
 */
export function planAttachments(request: PodRequest, catalog: Catalog): readonly PlannedAttachment[] {
  validateContainerId(request.containerId);
  const wanted = request.networks ?? [];
  const lists = wanted.length === 0 ? [catalog.default()] : wanted.map(({ name }) => catalog.get(name));
  const names = interfaceNames(wanted, lists);
  return lists.map((list, index) => {
    const first = index === 0;
    const capabilityArgs = first ? capabilityArgsOf(request, list) : annotationsOf(request);
    const args = cniArgsOf(request, first);
    for (const [key, value] of args) validateCniArg(key, value);
    return { list, ifName: names[index] ?? "eth0", args, capabilityArgs };
  });
}

/** Explicit names stand; the others get the lowest free `ethN` in order. */
function interfaceNames(
  wanted: readonly WantedNetwork[],
  lists: readonly NetworkConfigList[],
): readonly string[] {
  const taken = new Set<string>(["lo"]);
  for (const { name, ifName } of wanted) {
    if (ifName === undefined) continue;
    validateInterfaceName(ifName);
    if (taken.has(ifName)) {
      const msg = `network "${name}" requested interface name "${ifName}" already assigned`;
      throw new CniError("usage", msg, { network: name });
    }
    taken.add(ifName);
  }
  let next = 0;
  return lists.map((list, index) => {
    const explicit = wanted[index]?.ifName;
    if (explicit !== undefined) return explicit;
    while (taken.has(`eth${next}`)) next++;
    if (next > LAST_AUTOMATIC) {
      throw new CniError("usage", `failed to find free interface name for network "${list.name}"`);
    }
    taken.add(`eth${next}`);
    return `eth${next}`;
  });
}

function cniArgsOf(request: PodRequest, first: boolean): CniArgs {
  const { ips = [], mac } = request;
  const [ip] = ips;
  if (first && mac !== undefined && !isMac(mac)) {
    throw new CniError("usage", `unable to parse MAC address "${mac}"`);
  }
  return [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", request.namespace],
    ["K8S_POD_NAME", request.name],
    ["K8S_POD_INFRA_CONTAINER_ID", request.containerId],
    ["K8S_POD_UID", request.uid],
    ...(request.args ?? []),
    // The old way, which holds one address; several go by the capability alone.
    ...(first && ip !== undefined && ips.length === 1 ? [["IP", ip] as const] : []),
    ...(first && mac !== undefined ? [["MAC", mac] as const] : []),
  ];
}

function capabilityArgsOf(request: PodRequest, list: NetworkConfigList): JsonObject {
  const { publish = [], ips = [], mac, bandwidth, capabilities = {} } = request;
  for (const ip of ips) {
    if (parseIp(ip) === undefined) throw new CniError("usage", `unable to parse IP address "${ip}"`);
  }
  const declared = new Set(list.plugins.flatMap((plugin) => plugin.capabilities));
  const required: JsonObject = {
    ...(publish.length === 0 ? {} : { portMappings: publish.map((mapping) => ({ ...mapping })) }),
    ...(bandwidth === undefined ? {} : { bandwidth: { ...bandwidth } }),
    ...capabilities,
    ...(ips.length < 2 ? {} : { ips: [...ips] }),
  };
  for (const name of Object.keys(required)) {
    if (!declared.has(name)) throw undeclared(name, list);
  }
  return {
    ...annotationsOf(request),
    ...(ips.length === 1 && declared.has("ips") ? { ips: [...ips] } : {}),
    ...(mac !== undefined && declared.has("mac") ? { mac } : {}),
    ...required,
  };
}

function annotationsOf({ annotations }: PodRequest): JsonObject {
  return annotations === undefined ? {} : { "io.kubernetes.cri.pod-annotations": { ...annotations } };
}

/** A published port that no plugin publishes would look like success. */
function undeclared(capability: string, list: NetworkConfigList): CniError {
  const types = list.plugins.map(({ type }) => type).join(", ");
  return new CniError(
    "usage",
    `no plugin of network "${list.name}" (${types}) takes the capability "${capability}"`,
    {
      hint: `give the network a plugin with "capabilities": {"${capability}": true}`,
    },
  );
}
