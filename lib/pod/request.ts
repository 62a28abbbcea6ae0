import type { Catalog } from "../catalog/catalog.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateContainerId, validateNewCniArg } from "../cni/name.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import { formatHostPort, type HostPort, hostPortsOf, overlap } from "../state/host_port.ts";
import type { AutomaticPort } from "../state/automatic_ports.ts";
import { capabilityArgs } from "./capability_args.ts";
import { automaticPorts, dnsToJson } from "./setting_capability.ts";
import { interfaceNames } from "./interface_names.ts";
import type { NetworkSettings, PodIdentity, WantedNetwork, WantedNetworks } from "./pod_request.ts";
import { type RefuseMember, type SettingTable, valueOf, type WantedSettings } from "./setting.ts";
import { SETTINGS, validateSettings } from "./settings.ts";
import { withCniArgs } from "./with_cni_args.ts";
import { withPortmap } from "./with_portmap.ts";

export type {
  Bandwidth,
  IpRange,
  NetworkSettings,
  PodDns,
  PodIdentity,
  PodRequest,
  PortMapping,
  WantedNetwork,
  WantedNetworks,
} from "./pod_request.ts";
export { macDigits, normalIp, wantedIp } from "./setting_rules.ts";

/** One attachment of a pod, ready to be made. */
export interface PlannedAttachment {
  readonly list: NetworkConfigList;
  readonly ifName: string;
  readonly args: CniArgs;
  readonly capabilityArgs: JsonObject;
  /** Ports of the container for which ports of the host are chosen. */
  readonly automaticPorts: readonly AutomaticPort[];
  /** All that was asked for, to compare the result with. */
  readonly settings: WantedSettings;
  readonly foreignRoutes?: WantedNetwork["foreignRoutes"];
  /** The name by which Kubernetes knows the network. */
  readonly title?: string | undefined;
}

/**
 * Returns the attachments that a request asks for. Looks up and validates everything, so that nothing has run if
 * something is wrong.
 *
 * @throws {CniError} naming what is wrong
 */
export function planAttachments(
  pod: PodIdentity,
  request: WantedNetworks,
  catalog: Catalog,
  table: SettingTable = SETTINGS,
): readonly PlannedAttachment[] {
  validateContainerId(pod.containerId);
  const { networks = [] } = request;
  if (networks === "none") {
    requireNothingWanted(request, table);
    return [];
  }
  const found = networks.length === 0
    ? [catalog.default()]
    : networks.map(({ name }) => catalog.forPod(name));
  const isMapped = request.mapPorts === true && isGiven(request.publish);
  const lists = found.map((list, index) =>
    withCniArgs(isMapped && index === 0 ? withPortmap(list) : list, networks[index]?.cniArgs)
  );
  const wanted = lists.map((list, index): WantedNetwork => networks[index] ?? { name: list.name });
  const names = interfaceNames(wanted);
  const settings = wanted.map((network, index) =>
    normalizedSettings(network.name, mergedSettings(request, network, index === 0, table), table)
  );
  const plan = lists.map((list, index): PlannedAttachment => {
    const own = settings[index] ?? {};
    const { requireCapabilities, foreignRoutes, title } = networks[index] ?? {};
    return {
      list,
      ifName: names[index] ?? "",
      args: cniArgs(pod, own, list.name, table),
      capabilityArgs: {
        ...offeredDns(own, list, request),
        ...capabilityArgs(own, list, table, { requireCapabilities }),
      },
      automaticPorts: automaticPorts(own.publish),
      settings: own,
      foreignRoutes,
      title,
    };
  });
  requireDistinct(plan, table);
  requireDistinctPorts(plan);
  return plan;
}

/** Returns a request without networks, and without the settings that need one. */
export function withoutNetworks<T extends WantedNetworks>(request: T, table: SettingTable = SETTINGS): T {
  const members = Object.entries(request).filter(([member]) => table[member]?.scope !== "first");
  return { ...Object.fromEntries(members) as T, networks: "none" };
}

/** A setting for a network that the pod does not get would look like success. */
function requireNothingWanted(request: NetworkSettings, table: SettingTable): void {
  for (const [member, { scope }] of Object.entries(table)) {
    if (scope !== "first" || !isGiven(valueOf(request, member))) continue;
    const msg = `${member} asks something of a network, and the pod has no network`;
    throw new CniError("usage", msg, { path: member });
  }
}

/** Returns the settings of one network: its own, and those of the pod that are for it. */
function mergedSettings(
  request: NetworkSettings,
  wanted: WantedNetwork,
  isFirst: boolean,
  table: SettingTable,
): WantedSettings {
  const twice = (path: string) =>
    new CniError("usage", `${path} is given for the pod and for this network, its first`, {
      network: wanted.name,
      path,
      hint: "leave one of them out",
    });
  const members = Object.entries(table).flatMap(([member, { scope, merge }]) => {
    const isForThis = scope === "all" || (scope === "first" && isFirst);
    const pod = isForThis ? valueOf(request, member) : undefined;
    const own = valueOf(wanted, member);
    const both = [pod, own].filter((value) => value !== undefined);
    if (both.length < 2) return both.map((value) => [member, value] as const);
    if (merge !== undefined) return [[member, merge(pod, own, twice)] as const];
    if (scope === "first" && isGiven(pod) && isGiven(own)) throw twice(member);
    return [[member, isGiven(own) ? own : pod] as const];
  });
  return Object.fromEntries(members);
}

/** Whether a value asks for something: an empty list does not, nor does an object without a value. */
function isGiven(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value !== "object" || value === null) return value !== undefined;
  return Object.values(value).some((member) => !Array.isArray(member) || member.length > 0);
}

/** Returns the settings in their one form. */
function normalizedSettings(network: string, settings: WantedSettings, table: SettingTable): WantedSettings {
  const refuse: RefuseMember = (path, problem) =>
    new CniError("usage", `${path}: ${problem}`, { network, path });
  const members = Object.entries(table).flatMap(([member, { normalize }]) => {
    const value = valueOf(settings, member);
    if (value === undefined) return [];
    return [[member, normalize === undefined ? value : normalize(value, refuse)] as const];
  });
  const normalized: WantedSettings = Object.fromEntries(members);
  validateSettings(normalized, refuse, table);
  return normalized;
}

/** What is offered may find no plugin that takes it. */
function offeredDns(
  own: WantedSettings,
  { plugins }: NetworkConfigList,
  { offerDns }: WantedNetworks,
): JsonObject {
  const isTaken = plugins.some(({ capabilities }) => capabilities.includes("dns"));
  const dns = isTaken && offerDns !== undefined ? dnsToJson(offerDns) : undefined;
  return dns === undefined || isGiven(valueOf(own, "dns")) ? {} : { dns };
}

function cniArgs(
  pod: PodIdentity,
  settings: NetworkSettings,
  network: string,
  table: SettingTable,
): CniArgs {
  const args: CniArgs = [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", pod.namespace],
    ["K8S_POD_NAME", pod.name],
    ["K8S_POD_INFRA_CONTAINER_ID", pod.containerId],
    ["K8S_POD_UID", pod.uid],
    ...settings.args ?? [],
    ...Object.entries(table).flatMap(([member, { cniArg }]) => {
      const value = valueOf(settings, member);
      const text = value === undefined ? undefined : cniArg?.of(value);
      return cniArg === undefined || text === undefined ? [] : [[cniArg.key, text] as const];
    }),
  ];
  try {
    for (const [key, value] of args) validateNewCniArg(key, value);
  } catch (error) {
    throw error instanceof CniError ? error.within({ network, path: "args" }) : error;
  }
  return args;
}

/** Refuses two attachments that ask for the same thing of which there is only one. */
function requireDistinct(plan: readonly PlannedAttachment[], table: SettingTable): void {
  const owners = new Map<string, PlannedAttachment>();
  for (const attachment of plan) {
    const { list: { name: network }, ifName, settings } = attachment;
    for (const [member, { claims }] of Object.entries(table)) {
      const value = valueOf(settings, member);
      for (const { within, key, name } of value === undefined ? [] : claims?.(value) ?? []) {
        const place = `${within === "pod" ? "" : network} ${member} ${key}`;
        const owner = owners.get(place);
        if (owner !== undefined) {
          const other = owner.list.name;
          // Two networks have different names; within one network the interfaces have.
          const whose = other !== network
            ? `for "${other}" and "${network}"`
            : owner === attachment
            ? `for "${ifName}"`
            : `for "${owner.ifName}" and "${ifName}"`;
          throw new CniError("usage", `${name} is requested twice, ${whose}`, { network, path: member });
        }
        owners.set(place, attachment);
      }
    }
  }
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
          ? `publish: the host's port ${first} is requested twice`
          : `publish: the host's ports ${first} and ${second} overlap`;
        throw new CniError("usage", msg, { network: list.name, path: "publish" });
      }
      byPort.set(key, [...others, hostPort]);
    }
  }
}
