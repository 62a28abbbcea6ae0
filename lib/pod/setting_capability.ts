import type { JsonObject } from "../cni/json.ts";
import type { AutomaticPort } from "../state/automatic_ports.ts";
import { hostAddress } from "../state/host_port.ts";
import type { Bandwidth, IpRange, NetworkSettings, PodDns, PortMapping } from "./pod_request.ts";

// Settings as capability arguments, in the shapes of the conventions. What asks for nothing is undefined.
//
// Source: CNI extension conventions, "Well-known Capabilities".

/** A list, unless it is empty. */
export function listToJson(texts: readonly string[]): string[] | undefined {
  return texts.length === 0 ? undefined : [...texts];
}

/** `portMappings`, without those whose ports of the host are chosen when they are claimed. */
export function portsToJson(ports: readonly Required<PortMapping>[]): JsonObject[] | undefined {
  if (ports.length === 0) return undefined;
  return ports.flatMap(({ hostPort, containerPort, protocol, hostIP }) =>
    hostPort === "auto"
      ? []
      : [{ hostPort, containerPort, protocol: protocol ?? "tcp", hostIP: hostIP ?? "" }]
  );
}

/** Returns those whose ports of the host are chosen. */
export function automaticPorts(ports: NetworkSettings["publish"] = []): readonly AutomaticPort[] {
  return ports.flatMap((port) => {
    if (typeof port === "string" || port.hostPort !== "auto") return [];
    const { containerPort, protocol = "tcp", hostIP = "" } = port;
    const where = hostAddress(hostIP);
    return where === undefined ? [] : [{ ...where, containerPort, protocol, hostIP }];
  });
}

/** The kernel counts a burst in bytes, in 32 bits. */
const LONGEST_BURST = 8e9;

/** `bandwidth`; a rate without a burst gets one, as plugins refuse a rate without a burst. */
export function bandwidthToJson(
  { ingressRate, ingressBurst, egressRate, egressBurst }: Bandwidth,
): JsonObject | undefined {
  const burst = (rate: number) => Math.min(LONGEST_BURST, Math.max(1, Math.round(rate / 10)));
  return anyMember({
    ...(ingressRate === undefined ? {} : { ingressRate, ingressBurst: ingressBurst ?? burst(ingressRate) }),
    ...(egressRate === undefined ? {} : { egressRate, egressBurst: egressBurst ?? burst(egressRate) }),
  });
}

/** `ipRanges` */
export function rangesToJson(ipRanges: readonly (readonly IpRange[])[]): JsonObject[][] | undefined {
  if (ipRanges.length === 0) return undefined;
  return ipRanges.map((ranges) => ranges.map(definedMembers));
}

function definedMembers(range: IpRange): JsonObject {
  return Object.fromEntries(Object.entries(range).filter(([, value]) => value !== undefined));
}

/** `dns` */
export function dnsToJson({ servers = [], searches = [], options = [] }: PodDns): JsonObject | undefined {
  return anyMember({
    ...(servers.length === 0 ? {} : { servers: [...servers] }),
    ...(searches.length === 0 ? {} : { searches: [...searches] }),
    ...(options.length === 0 ? {} : { options: [...options] }),
  });
}

function anyMember(json: JsonObject): JsonObject | undefined {
  return Object.keys(json).length === 0 ? undefined : json;
}
