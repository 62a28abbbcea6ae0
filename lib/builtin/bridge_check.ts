import type { Interface } from "../cni/result.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import type { BridgeConfig } from "./bridge_config.ts";
import type { Host } from "./host.ts";
import {
  checkAddresses,
  checkLink,
  checkRoutes,
  type Expected,
  expected,
  showNetns,
  wrong,
} from "./link_check.ts";
import { findSpoofProblem } from "./mac_spoof_check.ts";

/**
 * Checks that the interfaces of an earlier ADD exist and are connected, with the addresses and routes of its result.
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
  await checkLinks(host, config, { ...attachment, bridge, ports, netns, containerId, ifName });
}

interface ExpectedOnBridge extends Expected {
  readonly netns: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly bridge: Interface;
  readonly ports: readonly Interface[];
}

async function checkLinks(host: Host, config: BridgeConfig, wanted: ExpectedOnBridge): Promise<void> {
  const { bridge, container, ports, result, netns } = wanted;
  const kernel = kernelFor(host.run);
  const outside = await Promise.all([bridge, ...ports].map(({ name }) => findLink(kernel, name, host)));
  const [bridgeLink, ...portLinks] = outside;
  checkLink(bridge, bridgeLink, "bridge");
  if (bridgeLink?.isPromiscuous !== config.promiscMode) {
    throw wrong(`bridge "${bridge.name}" is ${config.promiscMode ? "not " : ""}in promiscuous mode`);
  }
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
  checkLink(port, portLinks[at], "veth");
  if (config.macspoofchk) {
    const { containerId, ifName } = wanted;
    const guarded = { containerId, ifName, hostName: port.name, mac: container.mac || inside.mac };
    const problem = await findSpoofProblem(host, guarded);
    if (problem !== undefined) throw wrong(problem);
  }
  checkAddresses(result, inside, container.name);
  checkRoutes(result.routes ?? [], routes);
}
