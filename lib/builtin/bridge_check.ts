import { type Cidr, formatCidr } from "../cni/address.ts";
import type { Interface } from "../cni/result.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import type { BridgeConfig } from "./bridge_config.ts";
import { planAddresses } from "./bridge_plan.ts";
import { cidrsOf } from "./bridge_port.ts";
import type { Host } from "./host.ts";
import { checkHost, checkMtu, ownIps } from "./host_check.ts";
import {
  checkAddresses,
  checkLink,
  checkRoutes,
  type Expected,
  expected,
  showNetns,
  wrong,
} from "./link_check.ts";
import { vlanProblem } from "./bridge_vlans.ts";
import { gatewayName } from "./vlan_gateway.ts";
import { findSpoofProblem } from "./mac_spoof_check.ts";

/**
 * Checks that the interfaces of an earlier ADD exist and are connected, with the addresses and routes of its result, and that the
 * host forwards and masquerades the packets of the container.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkBridge(host: Host, config: BridgeConfig, request: PluginRequest): Promise<void> {
  const attachment = await expected(request);
  const { interfaces = [] } = attachment.result;
  const bridge = interfaces.find(({ name, sandbox }) => name === config.bridge && !sandbox);
  if (bridge === undefined) throw wrong(`prevResult has no bridge "${config.bridge}"`);
  const ports = interfaces.filter(({ name, sandbox }) => !sandbox && name !== config.bridge);
  const { netns, containerId, ifName } = request;
  const needed = bridgeAddresses(attachment, config);
  await checkLinks(host, config, { ...attachment, bridge, ports, netns, containerId, ifName, needed });
  const { ipMasq, ipMasqBackend, ipamType } = config;
  await checkHost(request, attachment, { ipMasq: ipamType === "" ? [] : ipMasq, ipMasqBackend }, needed);
}

/** Returns the addresses that the bridge has for the container. */
export function bridgeAddresses(attachment: Expected, config: BridgeConfig): readonly Cidr[] {
  const ips = ownIps(attachment);
  return ips.length === 0 ? [] : planAddresses({ ...attachment.result, ips }, config).bridgeAddresses;
}

interface ExpectedOnBridge extends Expected {
  readonly netns: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly bridge: Interface;
  readonly ports: readonly Interface[];
  /** What the bridge has to have as addresses. */
  readonly needed: readonly Cidr[];
}

async function checkLinks(host: Host, config: BridgeConfig, wanted: ExpectedOnBridge): Promise<void> {
  const { bridge, container, ports, result, netns, needed } = wanted;
  const kernel = kernelFor(host.run);
  const outside = await Promise.all([bridge, ...ports].map(({ name }) => findLink(kernel, name, host)));
  const [bridgeLink, ...portLinks] = outside;
  checkLink(bridge, bridgeLink, "bridge");
  if (bridgeLink.isPromiscuous !== config.promiscMode) {
    throw wrong(`bridge "${bridge.name}" is ${config.promiscMode ? "not " : ""}in promiscuous mode`);
  }
  await checkGateway(host, config, bridgeLink, needed);
  const { link: inside, routes } = await showNetns(host, netns, container.name);
  if (config.disableContainerInterface) {
    if (inside.isUp) throw wrong(`interface "${container.name}" is up`);
  } else checkLink(container, inside, "veth");
  // Other plugins of the chain may have added interfaces to the result; this plugin does not check those.
  const at = portLinks.findIndex((link) =>
    link?.kind === "veth" && link.index === inside.peerIndex && link.peerIndex === inside.index &&
    link.master === bridge.name
  );
  const port = ports[at];
  if (port === undefined) {
    throw wrong(`no veth of prevResult connects "${container.name}" with bridge "${bridge.name}"`);
  }
  const portLink = portLinks[at];
  checkLink(port, portLink, "veth");
  checkMtu({ name: port.name, mtu: portLink.mtu }, config.mtu);
  const wrongFlag = portProblem(config, portLink);
  if (wrongFlag !== undefined) throw wrong(wrongFlag);
  await checkVlans(host, config, { bridge: bridgeLink, port: port.name });
  if (config.macspoofchk) {
    const { containerId, ifName } = wanted;
    const guarded = { containerId, ifName, hostName: port.name, mac: container.mac || inside.mac };
    const problem = await findSpoofProblem(host, guarded);
    if (problem !== undefined) throw wrong(problem);
  }
  checkAddresses(result, inside, container.name);
  checkRoutes(result.routes ?? [], routes);
}

/** Returns which flag of a port of the bridge is not as its ADD left it; undefined if none is. */
export function portProblem(
  { hairpinMode, portIsolation }: Pick<BridgeConfig, "hairpinMode" | "portIsolation">,
  { name, port }: Pick<LinkInfo, "name" | "port">,
): string | undefined {
  if (port === undefined) return undefined;
  const { hairpin, isolated = portIsolation } = port;
  if (hairpin !== hairpinMode) {
    return `bridge port "${name}" is ${hairpinMode ? "not " : ""}in hairpin mode`;
  }
  return isolated === portIsolation
    ? undefined
    : `bridge port "${name}" is ${portIsolation ? "not " : ""}isolated`;
}

async function checkVlans(
  host: Host,
  { vlans }: BridgeConfig,
  { bridge, port }: { readonly bridge: LinkInfo; readonly port: string },
): Promise<void> {
  if (!vlans.filters) return;
  if (!bridge.filtersVlans) throw wrong(`bridge "${bridge.name}" does not keep VLANs apart`);
  if (vlans.ofPort.length === 0) return;
  const found = await kernelFor(host.run).portVlans({ signal: host.signal });
  const problem = vlanProblem(vlans, found.get(port) ?? []);
  if (problem !== undefined) throw wrong(`bridge port "${port}" ${problem}`);
}

/** Looks at the interface with the addresses of the gateways: the bridge, unless they are in a VLAN. */
async function checkGateway(
  host: Host,
  { bridge, vlans: { vlan } }: BridgeConfig,
  bridgeLink: LinkInfo,
  needed: readonly Cidr[],
): Promise<void> {
  if (needed.length === 0) return;
  const name = vlan === 0 ? bridge : gatewayName({ bridge, vlan });
  const link = vlan === 0 ? bridgeLink : await findLink(kernelFor(host.run), name, host);
  if (link === undefined) throw wrong(`interface "${name}" is not there any more`);
  if (!link.isUp) throw wrong(`interface "${name}" is down`);
  const what = vlan === 0 ? "bridge" : "interface";
  const present = new Set(cidrsOf(link).map(formatCidr));
  for (const address of needed.map(formatCidr)) {
    if (!present.has(address)) throw wrong(`${what} "${name}" does not have the address ${address}`);
  }
}
