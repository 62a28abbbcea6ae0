import { formatCidr, formatIp, networkOf, parseCidr } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Interface, Result, Route } from "../cni/result.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { RouteInfo } from "../kernel/operation.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import type { BridgeConfig } from "./bridge_config.ts";
import { cidrsOf } from "./bridge_port.ts";
import type { Host } from "./host.ts";

/**
 * Checks that the interfaces of an earlier ADD exist and are connected, with the addresses and routes of its result.
 *
 * @throws {CniError} Naming the first difference.
 */
export async function checkBridge(host: Host, config: BridgeConfig, request: PluginRequest): Promise<void> {
  const { prevResult, netns, ifName } = request;
  if (prevResult === undefined) {
    throw new CniError("config", "Required prevResult missing", { code: ERROR_CODES.invalidNetworkConfig });
  }
  const problem = await nsProblem(netns);
  if (problem !== undefined) {
    throw new CniError("not-found", `Cannot open network namespace "${netns}": ${problem}`, {
      code: ERROR_CODES.invalidNetns,
    });
  }
  const { interfaces = [] } = prevResult;
  const bridge = interfaces.find(({ name, sandbox }) => name === config.bridge && !sandbox);
  const container = interfaces.find(({ name, sandbox }) => name === ifName && sandbox === netns);
  if (bridge === undefined) throw wrong(`prevResult has no bridge "${config.bridge}"`);
  if (container === undefined) throw wrong(`prevResult has no interface "${ifName}" in "${netns}"`);
  const ports = interfaces.filter(({ name, sandbox }) => !sandbox && name !== config.bridge);
  await checkLinks(host, config, { bridge, container, ports, prevResult, netns });
}

interface Expected {
  readonly prevResult: Result;
  readonly netns: string;
  readonly bridge: Interface;
  readonly container: Interface;
  readonly ports: readonly Interface[];
}

async function checkLinks(host: Host, config: BridgeConfig, expected: Expected): Promise<void> {
  const { bridge, container, ports, prevResult, netns } = expected;
  const { name: ifName } = container;
  const kernel = kernelFor(host.run);
  const outside = await Promise.all([bridge, ...ports].map(({ name }) => findLink(kernel, name, host)));
  const [bridgeLink, ...portLinks] = outside;
  checkLink(bridge, bridgeLink, "bridge");
  if (bridgeLink?.isPromiscuous !== config.promiscMode) {
    throw wrong(`bridge "${bridge.name}" is ${config.promiscMode ? "not " : ""}in promiscuous mode`);
  }
  const questions = [
    { kind: "show-link", name: ifName },
    { kind: "show-routes", family: 4 },
    { kind: "show-routes", family: 6 },
  ] as const;
  const [inside, v4, v6] = await kernel.apply(questions, { netns, signal: host.signal })
    .catch((error: unknown) => {
      if (error instanceof KernelError && error.index === 0 && error.problem === "missing") {
        throw wrong(`interface "${ifName}" is not in "${netns}" any more`);
      }
      throw error;
    });
  checkLink(container, inside, "veth");
  // Other plugins of the chain may have added interfaces to the result; this plugin does not check those.
  const at = portLinks.findIndex((link) =>
    link?.kind === "veth" && link.index === inside.peerIndex && link.peerIndex === inside.index &&
    link.master === bridge.name
  );
  const port = ports[at];
  if (port === undefined) {
    throw wrong(`no veth of prevResult connects "${ifName}" with bridge "${bridge.name}"`);
  }
  checkLink(port, portLinks[at], "veth");
  checkAddresses(prevResult, inside, ifName);
  checkRoutes(prevResult.routes ?? [], [...v4, ...v6]);
}

function checkLink(expected: Interface, link: LinkInfo | undefined, kind: string): void {
  const { name, mac } = expected;
  if (link === undefined) throw wrong(`interface "${name}" is not there any more`);
  if (link.kind !== kind) throw wrong(`interface "${name}" is not a ${kind}`);
  if (!link.isUp) throw wrong(`interface "${name}" is down`);
  if (mac && mac.toLowerCase() !== link.mac.toLowerCase()) {
    throw wrong(`interface "${name}" has the MAC address ${link.mac}, not ${mac}`);
  }
}

function checkAddresses({ ips = [] }: Result, link: LinkInfo | undefined, ifName: string): void {
  const present = new Set(link && cidrsOf(link).map(formatCidr));
  for (const { address } of ips) {
    if (!present.has(address)) throw wrong(`interface "${ifName}" does not have the address ${address}`);
  }
}

function checkRoutes(routes: readonly Route[], present: readonly RouteInfo[]): void {
  for (const { dst, gw } of routes) {
    const wanted = parseCidr(dst);
    if (wanted === undefined) throw wrong(`prevResult has a route to ${dst}`);
    const text = formatCidr(networkOf(wanted));
    const family = wanted.ip.family;
    const found = present.some((route) =>
      route.dst !== undefined && route.dst.ip.family === family && formatCidr(route.dst) === text &&
      (gw === undefined ||
        route.hops.some(({ gateway }) => gateway !== undefined && formatIp(gateway) === gw))
    );
    if (!found) {
      throw wrong(`the route to ${dst}${gw === undefined ? "" : ` via ${gw}`} is not there any more`);
    }
  }
}

function wrong(msg: string): CniError {
  return new CniError("not-found", msg);
}
