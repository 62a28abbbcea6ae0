import { formatCidr } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import { atLeast, SPEC_VERSIONS } from "../cni/version.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import { removeLink } from "../kernel/links.ts";
import type { AddAddress, AddRoute, Change } from "../kernel/operation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { cidrsOf } from "./bridge_port.ts";
import { wrong } from "./link_check.ts";
import { withNetnsLock } from "./netns_lock.ts";
import { requireUsable } from "./pair_attachment.ts";
import { requirePrevResult } from "./prev_result.ts";
import { type ShownRouting, showRouting } from "./shown_routing.ts";
import { Undo } from "./undo.ts";
import { checkVrf } from "./vrf_check.ts";
import { readVrfConfig, readVrfName, type VrfConfig } from "./vrf_config.ts";
import { freeTable, routesAfter, sharesOf } from "./vrf_plan.ts";

/**
 * Lets the interfaces of a container look for their way in a table of their own, as the vrf plugin of the CNI plugins project
 * does: each of the two can check and undo what the other has made.
 */
export const vrf: Plugin = {
  about: "CNI plugin vrf (podwire)",
  versions: SPEC_VERSIONS.filter((version) => atLeast(version, "0.3.1")),
  // All that it makes is in the namespace of the container and ends with it: there is nothing for GC.
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = readVrfConfig(request.config);
  const result = requirePrevResult(request);
  await requireUsable(request, [config.name]);
  await withNetnsLock(request, async () => {
    const links = await linksIn(request);
    const port = requirePort(links, request, config);
    const routing = await showRouting(request);
    const undo = new Undo(request.log);
    try {
      const table = await ensureVrf(request, config, { links, routing }, undo);
      await enter(request, { name: config.name, table }, port, routing, undo);
    } catch (error) {
      await undo.run();
      throw error;
    }
  });
  return result;
}

/** The interface that is to enter the VRF. @throws {CniError} If it is not there, or is a port of something. */
function requirePort(
  links: readonly LinkInfo[],
  { ifName, netns }: PluginRequest,
  { name }: VrfConfig,
): LinkInfo {
  const port = links.find((link) => link.name === ifName);
  if (port === undefined) throw wrong(`interface "${ifName}" is not in "${netns}"`);
  if (port.master === "") return port;
  const msg =
    `Cannot add interface "${ifName}" to the VRF "${name}": it is a port of "${port.master}" already`;
  throw new CniError("conflict", msg);
}

/** Makes the VRF if it is not there. Returns its table. */
async function ensureVrf(
  { netns, run, signal }: PluginRequest,
  config: VrfConfig,
  { links, routing }: { readonly links: readonly LinkInfo[]; readonly routing: ShownRouting },
  undo: Undo,
): Promise<number> {
  const { name } = config;
  const kernel = kernelFor(run);
  const refused = (why: string) =>
    new CniError("config", `Cannot use the VRF "${name}": ${why}`, {
      code: ERROR_CODES.invalidNetworkConfig,
    });
  const there = links.find((link) => link.name === name);
  if (there !== undefined) {
    const { vrfTable } = there;
    if (vrfTable === undefined) throw refused(`there is a ${there.kind || "device"} of that name`);
    if (config.table === undefined || config.table === vrfTable) return vrfTable;
    throw refused(`it has the routing table ${vrfTable}, and the configuration says ${config.table}`);
  }
  const table = config.table ?? freeTable(links, routing);
  undo.push("the VRF", (signal) => removeLink(kernel, name, { netns, signal }));
  await kernel.apply([
    { kind: "create-link", name, link: { type: "vrf", table } },
    { kind: "set-link", name, up: true },
  ], { netns, signal });
  return table;
}

/**
 * Adds the interface to the VRF. The kernel sets it down and up again for that, and its IPv6 addresses and its routes are
 * lost, which it gets back here: the routes of the main table in that of the VRF, the others in their own.
 */
async function enter(
  request: PluginRequest,
  vrf: { readonly name: string; readonly table: number },
  port: LinkInfo,
  routing: ShownRouting,
  undo: Undo,
): Promise<void> {
  const { netns, ifName, run, signal } = request;
  const kernel = kernelFor(run);
  undo.push("the change of master", async (signal) => {
    await kernel.apply([{ kind: "set-link", name: ifName, master: "" }], { netns, signal });
    // To replace a route would replace an equal one of another interface too.
    const routes = routesAfter(routing, ifName, undefined).map((route) => ({ ...route, replace: false }));
    for (const change of await lost({ ...request, signal }, port, routes)) {
      await kernel.apply([change], { netns, signal }).catch((error: unknown) => {
        if (!(error instanceof KernelError && error.problem === "exists")) throw error;
      });
    }
  });
  await kernel.apply([...sharesOf(routing, ifName), { kind: "set-link", name: ifName, master: vrf.name }], {
    netns,
    signal,
  });
  await kernel.apply(await lost(request, port, routesAfter(routing, ifName, vrf.table)), { netns, signal });
}

/** What an interface needs after the kernel has set it down: the addresses that it does not have any more, and routes. */
async function lost(
  { netns, ifName, run, signal }: Pick<PluginRequest, "netns" | "ifName" | "run" | "signal">,
  before: LinkInfo,
  routes: readonly AddRoute[],
): Promise<readonly Change[]> {
  const [now] = await kernelFor(run).apply([{ kind: "show-link", name: ifName }], { netns, signal });
  const present = new Set(cidrsOf(now).map(formatCidr));
  const global = { ...before, addresses: before.addresses.filter(({ scope }) => scope === "global") };
  const addresses = cidrsOf(global).filter((address) => !present.has(formatCidr(address)))
    .map((address): AddAddress => ({ kind: "add-address", device: ifName, address, replace: true }));
  return [...addresses, ...routes];
}

async function check(request: PluginRequest): Promise<void> {
  await checkVrf(request, readVrfConfig(request.config));
}

/** Takes the interface out of the VRF, and removes a VRF without ports; nothing is left if the namespace is gone. */
async function del(request: PluginRequest): Promise<void> {
  const { netns, ifName, run, signal } = request;
  const name = readVrfName(request.config);
  if (netns === "" || await nsProblem(netns) !== undefined) return;
  const kernel = kernelFor(run);
  await withNetnsLock(request, async () => {
    const links = await linksIn(request);
    const vrf = links.find((link) => link.name === name && link.kind === "vrf");
    if (vrf === undefined) return;
    const ports = links.filter(({ master }) => master === name);
    if (ports.some((port) => port.name === ifName)) {
      await kernel.apply([{ kind: "set-link", name: ifName, master: "" }], { netns, signal });
    }
    if (ports.every((port) => port.name === ifName)) await removeLink(kernel, name, { netns, signal });
  });
}

async function status(request: PluginRequest): Promise<void> {
  await Promise.resolve(readVrfConfig(request.config));
}

async function linksIn({ netns, run, signal }: PluginRequest): Promise<readonly LinkInfo[]> {
  const [links] = await kernelFor(run).apply([{ kind: "show-links", addresses: true }], { netns, signal });
  return links;
}
