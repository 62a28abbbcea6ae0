import { CniError } from "../cni/error.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { ownNetnsPath } from "../host/own_netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { RouteInfo } from "../kernel/operation.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { isTag } from "./attachment_tag.ts";
import { cidrsOf } from "./bridge_port.ts";
import type { Host } from "./host.ts";
import { type LentDevice, removeLentDevice, writeLentDevice } from "./host_device_record.ts";
import { randomVethName } from "./random_names.ts";
import { copyOf, throughAlone } from "../kernel/route_copy.ts";
import type { Undo } from "./undo.ts";

/** What else may show which interface of a container was a device of the host, beside the record. */
export interface DeviceHints {
  /** Its name on the host; empty if it is not known. */
  readonly device: string;
  /** Its MAC address; empty if it is not known. */
  readonly mac: string;
}

/**
 * Moves a device of the host into the namespace of the container, under the name that it has there; `undo` moves it back, as
 * it was. Its alias is its name on the host, as the original has it. Returns it as it is inside, where it is down.
 *
 * @throws {CniError} kind `conflict`, if the name is taken in the container.
 */
export async function lend(request: PluginRequest, device: LinkInfo, undo: Undo): Promise<LinkInfo> {
  const { netns, ifName, containerId, name: network, run, signal } = request;
  const kernel = kernelFor(run);
  if (await findLink(kernel, ifName, { netns, signal }) !== undefined) {
    throw new CniError("conflict", `Cannot create interface "${ifName}" in "${netns}": it already exists`);
  }
  const { name, mac, alias, isUp, index } = device;
  const lent = { network, containerId, ifName, netns, name, index, mac, alias, isUp };
  const routes = await routesThrough({ run, signal }, name);
  await writeLentDevice(lent);
  undo.push("the device", async (signal) => {
    const host = { run, signal };
    if (await giveBack(host, lent, request.log)) await restore(host, device, routes);
    await removeLentDevice(lent);
  });
  await kernel.apply([{ kind: "set-link", name, netns, newName: ifName, alias: name }], { signal });
  const [inside] = await kernel.apply([{ kind: "show-link", name: ifName }], { netns, signal });
  // The index is another one if it was taken inside.
  if (inside.index !== index) await writeLentDevice({ ...lent, index: inside.index });
  return inside;
}

/** Returns the routes of the main table through an interface of the host. */
export async function routesThrough({ run, signal }: Host, name: string): Promise<readonly RouteInfo[]> {
  const [v4, v6] = await kernelFor(run).apply(
    [{ kind: "show-routes", family: 4 }, { kind: "show-routes", family: 6 }],
    { signal },
  );
  return [...v4, ...v6].filter((route) => route.isMain && throughAlone(route, name));
}

/**
 * Moves a device from the namespace of a container to the host, under its old name, where it is down. Does nothing if it is
 * not there any more. Returns whether it was moved.
 *
 * @throws {CniError} kind `conflict`, if the host has another interface of that name.
 */
export async function giveBack(
  host: Host,
  lent: Pick<LentDevice, "ifName" | "netns"> & Partial<LentDevice>,
  log: (line: string) => void,
  hints: DeviceHints = { device: "", mac: "" },
): Promise<boolean> {
  const { netns, ifName } = lent;
  const { run, signal } = host;
  if (netns === "" || await nsProblem(netns) !== undefined) return false;
  const kernel = kernelFor(run);
  const [links] = await kernel.apply([{ kind: "show-links" }], { netns, signal });
  const found = lent.name === undefined ? foundByHints(links, ifName, hints) : foundByRecord(links, lent);
  if (found === undefined) {
    const there = links.find(({ name }) => name === ifName);
    if (there !== undefined) log(`"${ifName}" is left as it is: it is not a device of the host`);
    return false;
  }
  const { name = found.alias, alias = "" } = lent;
  if (await findLink(kernel, name, { signal }) !== undefined) {
    throw new CniError(
      "conflict",
      `Cannot give "${found.name}" in "${netns}" back to the host: it has another interface "${name}"`,
      { details: "rename that one, or remove it" },
    );
  }
  await leave(host, { netns, links, from: found.name, to: name, alias });
  return true;
}

/** Whether {@linkcode giveBack} would find the device. */
export async function isLent({ run, signal }: Host, lent: LentDevice): Promise<boolean> {
  const { netns } = lent;
  if (netns === "" || await nsProblem(netns) !== undefined) return false;
  const [links] = await kernelFor(run).apply([{ kind: "show-links" }], { netns, signal });
  return foundByRecord(links, lent) !== undefined;
}

/** A device on its way to the host. */
interface Leaving {
  readonly netns: string;
  /** All interfaces of that namespace. */
  readonly links: readonly LinkInfo[];
  readonly from: string;
  readonly to: string;
  readonly alias: string;
}

/**
 * Moves a device to the host, where it must not be renamed: the host's network manager would take it for two. So it gets its
 * name in the namespace that it leaves, or, if another interface has that name there, in one of its own.
 */
async function leave({ run, signal }: Host, { netns, links, from, to, alias }: Leaving): Promise<void> {
  const kernel = kernelFor(run);
  const isTaken = links.some(({ name, altNames }) => name === to || altNames.includes(to));
  const home = { kind: "set-link", name: to, netns: ownNetnsPath(), alias } as const;
  const back = { kind: "set-link", name: to, newName: from } as const;
  if (from === to || !isTaken) {
    const renaming = [
      { kind: "set-link", name: from, up: false },
      { kind: "set-link", name: from, newName: to },
    ] as const;
    if (from !== to) await kernel.apply(renaming, { netns, signal });
    await kernel.apply([home], { netns, signal }).catch(async (error: unknown) => {
      if (from !== to) await kernel.apply([back], { netns });
      throw error;
    });
    return;
  }
  const own = `/run/netns/${randomVethName()}`;
  await kernel.createNetns(own, { signal });
  try {
    await kernel.apply([{ kind: "set-link", name: from, netns: own, newName: to }], { netns, signal });
    await kernel.apply([home], { netns: own, signal }).catch(async (error: unknown) => {
      await kernel.apply([{ ...back, netns }], { netns: own });
      throw error;
    });
  } finally {
    await kernel.removeNetns(own);
  }
}

/** The container may have renamed it, or changed its address, but not both its index and its alias without effort. */
function foundByRecord(
  links: readonly LinkInfo[],
  { ifName, name, index, mac }: Partial<LentDevice>,
): LinkInfo | undefined {
  return links.find((link) => link.index === index && (link.alias === name || link.mac === mac)) ??
    links.find((link) => link.name === ifName && (link.alias === name || link.mac === mac)) ??
    links.find((link) => link.alias === name && link.mac === mac);
}

/** What the original has moved has its old name as its alias. */
function foundByHints(
  links: readonly LinkInfo[],
  ifName: string,
  { device, mac }: DeviceHints,
): LinkInfo | undefined {
  const moved = links.filter(({ alias }) =>
    alias !== "" && !isTag(alias) && (device === "" || alias === device)
  );
  const named = moved.find(({ name }) => name === ifName);
  if (named !== undefined) return named;
  return moved.find((link) => device !== "" || mac !== "" && link.mac.toLowerCase() === mac.toLowerCase());
}

/** Gives a device of the host back what it lost by the move. */
async function restore({ run, signal }: Host, device: LinkInfo, routes: readonly RouteInfo[]): Promise<void> {
  const { name, isUp } = device;
  if (!isUp) return;
  const kernel = kernelFor(run);
  const global = { ...device, addresses: device.addresses.filter(({ scope }) => scope === "global") };
  const ways = routes.map((route) => copyOf(route)).toSorted((a, b) =>
    Number(a.gateway !== undefined) - Number(b.gateway !== undefined)
  );
  await kernel.apply([
    { kind: "set-link", name, up: true },
    ...cidrsOf(global).map((address) =>
      ({ kind: "add-address", device: name, address, replace: true }) as const
    ),
    ...ways,
  ], { signal });
}
