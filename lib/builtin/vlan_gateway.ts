import { lockFile } from "../host/lock.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink, linksByAlias, removeLink, vethsOfHost } from "../kernel/links.ts";
import { hasVlan, onlyVlan } from "./bridge_vlans.ts";
import type { Host } from "./host.ts";
import { randomMac, randomVethName } from "./random_names.ts";

const UNDO_MS = 10_000;

/** The gateway of a VLAN of a bridge: an interface of this host, whose other end is a port in that VLAN. */
export interface VlanGateway {
  readonly bridge: string;
  /** 0 for none. */
  readonly vlan: number;
}

/** The name of its interface, which the plugin of the CNI plugins project uses too. */
export function gatewayName({ bridge, vlan }: VlanGateway): string {
  return `${bridge}.${vlan}`;
}

/** The alias of a gateway that this plugin has made, whichever network needed it first. */
function gatewayAlias({ bridge, vlan }: VlanGateway): string {
  return `podwire gateway of VLAN ${vlan} on ${bridge}`;
}

/**
 * Returns the interface of a gateway, and makes it if there is none with that name. It gets its name last, so that no other
 * call finds it unfinished; what an interrupted call has left without the name is removed.
 */
export async function ensureVlanGateway(host: Host, gateway: VlanGateway, mtu: number): Promise<LinkInfo> {
  const { signal } = host;
  const kernel = kernelFor(host.run);
  const name = gatewayName(gateway);
  const alias = gatewayAlias(gateway);
  using _lock = await lockFile(lockPath(gateway), { signal });
  const there = await findLink(kernel, name, { signal });
  if (there !== undefined) {
    // Another one is used as it is.
    if (there.alias === alias && !there.isUp) {
      await kernel.apply([{ kind: "set-link", name, up: true }], { signal });
    }
    return there;
  }
  for (const left of await linksByAlias(kernel, (text) => text === alias, { signal })) {
    await removeLink(kernel, left, { signal });
  }
  const [port, end] = [randomVethName(), randomVethName()];
  try {
    return await makeGateway(host, gateway, { port, end, mtu });
  } catch (error) {
    // With its own time limit: the limit of the caller may be the reason of the failure.
    await removeLink(kernel, port, { signal: AbortSignal.timeout(UNDO_MS) }).catch(() => {});
    throw error;
  }
}

async function makeGateway(
  { run, signal }: Host,
  gateway: VlanGateway,
  { port, end, mtu }: { readonly port: string; readonly end: string; readonly mtu: number },
): Promise<LinkInfo> {
  const kernel = kernelFor(run);
  const name = gatewayName(gateway);
  const peer = { name: end, mac: randomMac() };
  await kernel.apply([
    { kind: "create-veth", name: port, mac: randomMac(), mtu, bridge: gateway.bridge, peer },
    { kind: "set-link", name: end, alias: gatewayAlias(gateway) },
  ], { signal });
  await kernel.setPortVlans({ device: port, replaces: true, add: [onlyVlan(gateway.vlan)] }, { signal });
  const [, , made] = await kernel.apply([
    { kind: "set-link", name: end, newName: name },
    { kind: "set-link", name, up: true },
    { kind: "show-link", name },
  ], { signal });
  return made;
}

/**
 * Removes a gateway that this plugin has made, if no other port of the bridge is in its VLAN: a pod, a virtual machine and the
 * link to other machines count alike. Returns whether it did.
 */
export async function removeUnusedGateway(host: Host, gateway: VlanGateway): Promise<boolean> {
  const { signal } = host;
  const kernel = kernelFor(host.run);
  const name = gatewayName(gateway);
  const isOurs = async () => {
    const link = await findLink(kernel, name, { signal });
    return link?.alias === gatewayAlias(gateway) ? link : undefined;
  };
  if (await isOurs() === undefined) return false;
  using lock = await lockFile(lockPath(gateway), { signal });
  const link = await isOurs();
  if (link === undefined) return false;
  const [ports] = await kernel.apply([{ kind: "show-links", bridge: gateway.bridge }], { signal });
  const vlans = await kernel.portVlans({ signal });
  const isUsed = ports.some((port) =>
    port.name !== link.parent && hasVlan(vlans.get(port.name) ?? [], gateway.vlan)
  );
  if (isUsed) return false;
  await removeLink(kernel, name, { signal });
  await lock.remove();
  return true;
}

/** Removes all gateways of a bridge that {@linkcode removeUnusedGateway} would, and returns their names. */
export async function removeUnusedGateways(host: Host, bridge: string): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const { name, alias } of await vethsOfHost(kernelFor(host.run), host)) {
    const vlan = Number(/ (\d+) on /.exec(alias)?.[1] ?? 0);
    const gateway = { bridge, vlan };
    if (alias !== gatewayAlias(gateway) || name !== gatewayName(gateway)) continue;
    if (await removeUnusedGateway(host, gateway)) removed.push(name);
  }
  return removed;
}

function lockPath(gateway: VlanGateway): string {
  return `/run/podwire/bridge-${gatewayName(gateway)}.lock`;
}
