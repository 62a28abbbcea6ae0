import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import type { Json, JsonObject } from "../cni/json.ts";
import type { Bandwidth, NetworkSettings, PodDns, PortMapping } from "./pod_request.ts";

/** The capability that hands on the annotations of a pod. */
const ANNOTATIONS = "io.kubernetes.cri.pod-annotations";

/** Capabilities that a network need not have: what they carry is offered, not asked for. */
const OFFERED: readonly string[] = ["cgroupPath", ANNOTATIONS];

/** The members that each become a capability argument, by its name. */
const MEMBERS = {
  ips: "ips",
  mac: "mac",
  portMappings: "publish",
  bandwidth: "bandwidth",
  ipRanges: "ipRanges",
  dns: "dns",
  aliases: "aliases",
  deviceID: "deviceID",
  cgroupPath: "cgroupPath",
  [ANNOTATIONS]: "annotations",
} as const satisfies Readonly<Record<string, keyof NetworkSettings>>;

/**
 * The capability arguments of an attachment, in the shapes of the conventions.
 *
 * Source: CNI extension conventions, "Well-known Capabilities".
 *
 * @throws {CniError} kind `usage`, if no plugin of the network takes what is asked for: it would look like success
 */
export function capabilityArgs(settings: NetworkSettings, list: NetworkConfigList): JsonObject {
  const { capabilities = {}, ips = [] } = settings;
  const typed = typedArgs(settings);
  const declared = new Set(list.plugins.flatMap((plugin) => plugin.capabilities));
  // One address, and a MAC address, go by CNI_ARGS too, and whether they were given is seen in the result.
  for (const name of ips.length < 2 ? ["ips", "mac"] : ["mac"]) {
    if (!declared.has(name)) delete typed[name];
  }
  for (const name of Object.keys(capabilities)) {
    const member = Object.hasOwn(typed, name) ? MEMBERS[name as keyof typeof MEMBERS] : undefined;
    if (member === undefined) continue;
    const msg = `${member} and capabilities.${name} both give the capability "${name}"`;
    throw new CniError("usage", msg, { network: list.name, path: `capabilities.${name}` });
  }
  for (
    const name of [
      ...Object.keys(typed).filter((name) => !OFFERED.includes(name)),
      ...Object.keys(capabilities),
    ]
  ) {
    if (!declared.has(name)) throw undeclared(name, list);
  }
  return { ...typed, ...capabilities };
}

function typedArgs(settings: NetworkSettings): Record<string, Json> {
  const { ips = [], mac, publish = [], ipRanges = [], aliases = [], deviceID, cgroupPath } = settings;
  const { annotations } = settings;
  const bandwidth = withBursts(settings.bandwidth ?? {});
  const dns = dnsToJson(settings.dns ?? {});
  return {
    ...(annotations === undefined ? {} : { [ANNOTATIONS]: { ...annotations } }),
    ...(cgroupPath === undefined ? {} : { cgroupPath }),
    ...(ips.length === 0 ? {} : { ips: [...ips] }),
    ...(mac === undefined ? {} : { mac }),
    ...(publish.length === 0 ? {} : { portMappings: publish.map(mappingToJson) }),
    ...(Object.keys(bandwidth).length === 0 ? {} : { bandwidth }),
    ...(ipRanges.length === 0 ? {} : { ipRanges: ipRanges.map((set) => set.map((range) => given(range))) }),
    ...(Object.keys(dns).length === 0 ? {} : { dns }),
    ...(aliases.length === 0 ? {} : { aliases: [...aliases] }),
    ...(deviceID === undefined ? {} : { deviceID }),
  };
}

function mappingToJson({ hostPort, containerPort, protocol, hostIP }: PortMapping): JsonObject {
  return { hostPort, containerPort, protocol, hostIP };
}

/** The kernel counts a burst in bytes, in 32 bits. */
const LONGEST_BURST = 8e9;

/** Plugins refuse a rate without a burst. */
function withBursts({ ingressRate, ingressBurst, egressRate, egressBurst }: Bandwidth): JsonObject {
  const burst = (rate: number) => Math.min(LONGEST_BURST, Math.max(1, Math.round(rate / 10)));
  return {
    ...(ingressRate === undefined ? {} : { ingressRate, ingressBurst: ingressBurst ?? burst(ingressRate) }),
    ...(egressRate === undefined ? {} : { egressRate, egressBurst: egressBurst ?? burst(egressRate) }),
  };
}

function dnsToJson({ servers = [], searches = [], options = [] }: PodDns): JsonObject {
  return {
    ...(servers.length === 0 ? {} : { servers: [...servers] }),
    ...(searches.length === 0 ? {} : { searches: [...searches] }),
    ...(options.length === 0 ? {} : { options: [...options] }),
  };
}

function given(members: object): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

function undeclared(capability: string, list: NetworkConfigList): CniError {
  const types = list.plugins.map(({ type }) => type).join(", ");
  return new CniError(
    "usage",
    `no plugin of network "${list.name}" (${types}) takes the capability "${capability}"`,
    { hint: `give the network a plugin with "capabilities": {"${capability}": true}` },
  );
}
