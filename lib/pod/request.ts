import { formatHostPort, type HostPort, hostPortsOf, overlap } from "../state/host_port.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateContainerId, validateNewCniArg } from "../cni/name.ts";
import { capabilityArgs } from "./capability_args.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { interfaceNames } from "./interface_names.ts";
import type { NetworkSettings, PodRequest, WantedNetwork } from "./pod_request.ts";
import { macDigits, validateDefaultRoutes, validateSettings, wantedIp } from "./setting_rules.ts";

export type {
  Bandwidth,
  IpRange,
  NetworkSettings,
  PodDns,
  PodRequest,
  PortMapping,
  WantedNetwork,
} from "./pod_request.ts";
export { macDigits, normalIp, wantedIp } from "./setting_rules.ts";

/** One attachment of a pod, ready to be made. */
export interface PlannedAttachment {
  readonly list: NetworkConfigList;
  readonly ifName: string;
  readonly args: CniArgs;
  readonly capabilityArgs: JsonObject;
  /** The addresses that the result must have, with that prefix where one is given. */
  readonly ips?: readonly string[];
  /** The MAC address that the interface must have. */
  readonly mac?: string;
  /** Whether the pod's default route is to be its own, or through which gateways. */
  readonly defaultRoute?: true | readonly string[];
}

/** An attachment with all that it is to have, nothing of it proven yet. */
interface Draft {
  readonly list: NetworkConfigList;
  readonly ifName: string;
  readonly settings: NetworkSettings;
  readonly defaultRoute: WantedNetwork["defaultRoute"];
}

/** What can only be had once, so that the pod's own is that of its first network. */
const OF_THE_FIRST = [
  "ips",
  "mac",
  "publish",
  "bandwidth",
  "ipRanges",
  "dns",
  "aliases",
  "deviceID",
] as const;

/**
 * Turns a request into attachments. Everything is looked up and validated here, so nothing has run
 * when something is wrong.
 *
 * @throws {CniError} naming what is wrong
 */
export function planAttachments(request: PodRequest, catalog: Catalog): readonly PlannedAttachment[] {
  validateContainerId(request.containerId);
  const { networks = [] } = request;
  if (networks === "none") return withoutNetworks(request);
  const lists = networks.length === 0 ? [catalog.default()] : networks.map(({ name }) => catalog.get(name));
  const wanted = lists.map((list, index): WantedNetwork => networks[index] ?? { name: list.name });
  const names = interfaceNames(wanted);
  const drafts = lists.map((list, index): Draft => ({
    list,
    ifName: names[index] ?? "",
    settings: settingsOf(request, wanted[index] ?? { name: list.name }, index === 0),
    defaultRoute: wanted[index]?.defaultRoute,
  }));
  for (const { list, settings } of drafts) validateSettings(list.name, settings);
  validateDefaultRoutes(drafts.map(({ list, defaultRoute }) => ({ network: list.name, defaultRoute })));
  const plan = drafts.map(({ list, ifName, settings, defaultRoute }): PlannedAttachment => {
    const { ips = [], mac } = settings;
    return {
      list,
      ifName,
      args: cniArgs(request, settings, list.name),
      capabilityArgs: capabilityArgs(settings, list),
      ...(ips.length === 0 ? {} : { ips: [...ips] }),
      ...(mac === undefined ? {} : { mac }),
      ...(defaultRoute === undefined ? {} : { defaultRoute }),
    };
  });
  requireDistinct(plan);
  return plan;
}

/** What asks something of a network that is not to be would look like success. */
function withoutNetworks(request: PodRequest): readonly PlannedAttachment[] {
  for (const member of [...OF_THE_FIRST, "capabilities"] as const) {
    if (!isGiven(request[member])) continue;
    const msg = `${member} asks something of a network, and the pod is to have none`;
    throw new CniError("usage", msg, { path: member });
  }
  return [];
}

/** What one network is to have: its own settings, and those of the pod that are meant for it. */
function settingsOf(request: PodRequest, wanted: WantedNetwork, isFirst: boolean): NetworkSettings {
  const { name, ifName: _, defaultRoute: _route, ...own } = wanted;
  const cgroupPath = own.cgroupPath ?? request.cgroupPath;
  const annotations = own.annotations === undefined
    ? request.annotations
    : { ...request.annotations, ...own.annotations };
  return {
    ...own,
    ...(isFirst ? ofTheFirst(request, own, name) : {}),
    args: [...request.args ?? [], ...own.args ?? []],
    ...(cgroupPath === undefined ? {} : { cgroupPath }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

function ofTheFirst(request: PodRequest, own: NetworkSettings, network: string): NetworkSettings {
  const twice = (path: string) =>
    new CniError("usage", `${path} is given for the pod and for this network, its first`, {
      network,
      path,
      hint: "leave one of them out",
    });
  const members = OF_THE_FIRST.filter((member) => isGiven(request[member]));
  const both = members.find((member) => isGiven(own[member]));
  if (both !== undefined) throw twice(both);
  const capability = Object.keys(request.capabilities ?? {}).find((name) =>
    Object.hasOwn(own.capabilities ?? {}, name)
  );
  if (capability !== undefined) throw twice(`capabilities.${capability}`);
  return {
    ...Object.fromEntries(members.map((member) => [member, request[member]])),
    capabilities: { ...request.capabilities, ...own.capabilities },
  };
}

/** An empty list, and an object without a value, ask for nothing. */
function isGiven(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value !== "object" || value === null) return value !== undefined;
  return Object.values(value).some((member) => !Array.isArray(member) || member.length > 0);
}

function cniArgs(request: PodRequest, settings: NetworkSettings, network: string): CniArgs {
  const { ips = [], mac, args: more = [] } = settings;
  const [ip] = ips;
  const args: CniArgs = [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", request.namespace],
    ["K8S_POD_NAME", request.name],
    ["K8S_POD_INFRA_CONTAINER_ID", request.containerId],
    ["K8S_POD_UID", request.uid],
    ...more,
    // The old way, which holds one address; several go by the capability alone.
    ...(ip !== undefined && ips.length === 1 ? [["IP", ip] as const] : []),
    ...(mac !== undefined ? [["MAC", mac] as const] : []),
  ];
  try {
    for (const [key, value] of args) validateNewCniArg(key, value);
  } catch (error) {
    throw error instanceof CniError ? error.within({ network, path: "args" }) : error;
  }
  return args;
}

/** Two attachments must not ask for the same thing of one network, nor of the host. */
function requireDistinct(plan: readonly PlannedAttachment[]): void {
  const takers = new Map<string, PlannedAttachment>();
  const take = (attachment: PlannedAttachment, key: string, what: string) => {
    const { list: { name: network }, ifName } = attachment;
    const first = takers.get(`${network} ${key}`);
    if (first !== undefined) {
      const msg = `${what} is asked for twice, for "${first.ifName}" and "${ifName}"`;
      throw new CniError("usage", msg, { network });
    }
    takers.set(`${network} ${key}`, attachment);
  };
  for (const attachment of plan) {
    const { ips = [], mac } = attachment;
    for (const text of ips) take(attachment, wantedIp(text).ip, `the address ${text}`);
    if (mac !== undefined) take(attachment, macDigits(mac), `the MAC address ${mac}`);
  }
  requireDistinctPorts(plan);
}

function requireDistinctPorts(plan: readonly PlannedAttachment[]): void {
  const byPort = new Map<string, HostPort[]>();
  for (const { list, capabilityArgs } of plan) {
    for (const hostPort of hostPortsOf(capabilityArgs)) {
      const key = `${hostPort.protocol} ${hostPort.port}`;
      const others = byPort.get(key) ?? [];
      const other = others.find((other) => overlap(other, hostPort));
      if (other !== undefined) {
        const [first, second] = [formatHostPort(other), formatHostPort(hostPort)];
        const msg = first === second
          ? `publish: the host's port ${first} is asked for twice`
          : `publish: the host's ports ${first} and ${second} are partly the same`;
        throw new CniError("usage", msg, { network: list.name, path: "publish" });
      }
      byPort.set(key, [...others, hostPort]);
    }
  }
}
