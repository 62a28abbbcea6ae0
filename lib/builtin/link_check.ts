import { formatCidr, formatIp, networkOf, parseCidr } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Interface, Result, Route } from "../cni/result.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import type { RouteInfo } from "../kernel/operation.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { cidrsOf } from "./bridge_port.ts";
import type { Host } from "./host.ts";
import { requirePrevResult } from "./prev_result.ts";

/** What the result of an ADD says about an attachment. */
export interface Expected {
  readonly result: Result;
  /** The interface in the container. */
  readonly container: Interface;
}

/** What is in the namespace of a container. */
export interface ShownNetns {
  readonly link: LinkInfo;
  readonly routes: readonly RouteInfo[];
}

/**
 * Returns what a CHECK has to find; `ifName` is the interface in the container.
 *
 * @throws {CniError} If there is no result, no namespace, or no such interface in the result.
 */
export async function expected(
  request: PluginRequest,
  ifName: string = request.ifName,
): Promise<Expected> {
  const prevResult = requirePrevResult(request);
  const { netns } = request;
  const problem = await nsProblem(netns);
  if (problem !== undefined) {
    throw new CniError("not-found", `Cannot open network namespace "${netns}": ${problem}`, {
      code: ERROR_CODES.invalidNetns,
    });
  }
  const container = prevResult.interfaces?.find(({ name, sandbox }) => name === ifName && sandbox === netns);
  if (container === undefined) throw wrong(`prevResult has no interface "${ifName}" in "${netns}"`);
  return { result: prevResult, container };
}

/**
 * Returns the interface and the routes in a namespace.
 *
 * @throws {CniError} If the interface is not there.
 */
export async function showNetns(host: Host, netns: string, ifName: string): Promise<ShownNetns> {
  const questions = [
    { kind: "show-link", name: ifName },
    { kind: "show-routes", family: 4 },
    { kind: "show-routes", family: 6 },
  ] as const;
  const [link, v4, v6] = await kernelFor(host.run).apply(questions, { netns, signal: host.signal })
    .catch((error: unknown) => {
      if (error instanceof KernelError && error.index === 0 && error.problem === "missing") {
        throw wrong(`interface "${ifName}" is not in "${netns}" any more`);
      }
      throw error;
    });
  return { link, routes: [...v4, ...v6] };
}

/** Checks that an interface of a result is there, of that kind, up, and has its MAC address. */
export function checkLink(
  expected: Interface,
  link: LinkInfo | undefined,
  kind: string,
): asserts link is LinkInfo {
  const { name, mac } = expected;
  if (link === undefined) throw wrong(`interface "${name}" is not there any more`);
  if (link.kind !== kind) throw wrong(`interface "${name}" is not a ${kind}`);
  if (!link.isUp) throw wrong(`interface "${name}" is down`);
  if (mac && mac.toLowerCase() !== link.mac.toLowerCase()) {
    throw wrong(`interface "${name}" has the MAC address ${link.mac}, not ${mac}`);
  }
}

/** Checks that an interface has the addresses of a result. */
export function checkAddresses({ ips = [] }: Result, link: LinkInfo | undefined, ifName: string): void {
  const present = new Set(link && cidrsOf(link).map(formatCidr));
  for (const { address } of ips) {
    if (!present.has(address)) throw wrong(`interface "${ifName}" does not have the address ${address}`);
  }
}

/** Checks that the routes of a result are among those that are there. */
export function checkRoutes(routes: readonly Route[], present: readonly RouteInfo[]): void {
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

/** The error of a CHECK that found a difference. */
export function wrong(msg: string): CniError {
  return new CniError("not-found", msg);
}
