import { delay } from "../async/wait.ts";
import { type Cidr, parseCidr } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import { findLink, removeLink } from "../kernel/links.ts";
import type { BridgeConfig } from "./bridge_config.ts";
import { MADE_BRIDGE } from "./bridge_owner.ts";
import type { Host } from "./host.ts";
import { randomMac, randomVethName } from "./random_names.ts";

/** A veth pair: one end in the container, the other a port of the bridge. */
export interface BridgePort {
  readonly hostName: string;
  readonly containerMac: string;
  /** The bridge when the port was added. */
  readonly bridge: LinkInfo;
}

/** The two ends of a new port. */
export interface PortRequest {
  readonly config: BridgeConfig;
  readonly netns: string;
  readonly ifName: string;
  /** The alias of the port, by which it is found if the end in the container cannot be reached. */
  readonly comment: string;
}

const ATTEMPTS = 4;
const UNDO_MS = 10_000;

/**
 * Makes the pair with one end in the container, in one step if the bridge exists. Both MAC addresses are chosen
 * here: so they need not be read back, and network managers do not change addresses that were set explicitly.
 *
 * After a failure nothing of the pair is left.
 */
export async function addPort(host: Host, request: PortRequest): Promise<BridgePort> {
  const { config, ifName, netns } = request;
  const { signal } = host;
  const kernel = kernelFor(host.run);
  const containerMac = config.mac || randomMac();
  for (let attempt = 1;; attempt++) {
    const hostName = randomVethName();
    try {
      const operations = portOperations(request, hostName, containerMac);
      const [, , , , bridge] = await kernel.apply(operations, { signal });
      await setVlans(host, config, bridge, hostName);
      return { hostName, containerMac, bridge };
    } catch (error) {
      const failed = error instanceof KernelError ? error.index ?? -1 : undefined;
      if (failed !== 0) {
        // With its own time limit: the limit of the caller may be the reason of the failure.
        await removeLink(kernel, hostName, { signal: AbortSignal.timeout(UNDO_MS) }).catch(() => {});
      }
      // If the first operation failed, it made nothing; if `ip` did not say which one failed, it did not know the bridge.
      if (failed === undefined || failed > 0) throw error;
      if (attempt === ATTEMPTS) throw error;
      if (await ensureBridge(host, config)) continue;
      if (await findLink(kernel, ifName, { netns, signal }) !== undefined) {
        throw new CniError(
          "conflict",
          `Cannot create interface "${ifName}" in "${netns}": it already exists`,
        );
      }
      // Another caller made the bridge meanwhile, or the name on the host was taken: try again.
    }
  }
}

/** What makes a port, in this order: nothing is left to undo if the first operation fails. */
function portOperations(
  { config, ifName, netns, comment }: PortRequest,
  hostName: string,
  containerMac: string,
) {
  const { bridge, hairpinMode: hairpin, portIsolation: isolated, promiscMode } = config;
  const peer = { name: ifName, mac: containerMac, netns };
  return [
    { kind: "create-veth", name: hostName, mac: randomMac(), mtu: mtuOf(config), bridge, peer },
    { kind: "set-port", name: hostName, hairpin, isolated },
    { kind: "set-link", name: hostName, alias: comment },
    { kind: "set-link", name: bridge, up: true, promiscuous: promiscMode || undefined },
    { kind: "show-link", name: bridge },
  ] as const;
}

/** The end in the container is still down, so that no frame passes in another VLAN before. */
async function setVlans(
  host: Host,
  { vlans }: BridgeConfig,
  bridge: LinkInfo,
  device: string,
): Promise<void> {
  if (!vlans.filters) return;
  if (!bridge.filtersVlans) throw unfiltered(bridge.name);
  if (vlans.ofPort.length === 0) return;
  const change = { device, add: vlans.ofPort, replaces: !vlans.keepsDefault };
  await kernelFor(host.run).setPortVlans(change, { signal: host.signal });
}

/** A bridge of others, or of a network without VLANs: pods of all VLANs would reach each other on it. */
function unfiltered(bridge: string): CniError {
  return new CniError("conflict", `Cannot use bridge "${bridge}" with VLANs: it does not keep them apart`, {
    details: `"ip link set ${bridge} type bridge vlan_filtering 1" changes that, for all of its ports`,
  });
}

/** Of a new interface; undefined leaves the choice to the kernel. */
function mtuOf({ mtu }: BridgeConfig): number | undefined {
  return mtu === 0 ? undefined : mtu;
}

/**
 * Makes the bridge if there is none; returns false if there was one. Of several concurrent callers one makes it, and the
 * others find it.
 *
 * Its MAC address is set explicitly: the kernel would use the lowest one of the ports, and change it with them.
 */
async function ensureBridge(host: Host, config: BridgeConfig): Promise<boolean> {
  const { bridge } = config;
  const { signal } = host;
  const kernel = kernelFor(host.run);
  const isBridge = (link: LinkInfo) => {
    if (link.kind === "bridge") return;
    throw new CniError(
      "conflict",
      `Cannot use bridge "${bridge}": the interface with that name is not a bridge`,
    );
  };
  const there = await findLink(kernel, bridge, { signal });
  if (there !== undefined) {
    isBridge(there);
    return false;
  }
  try {
    const { filters: filtersVlans } = config.vlans;
    const made = { name: bridge, mac: randomMac(), mtu: mtuOf(config), filtersVlans };
    await kernel.apply([
      { kind: "create-bridge", ...made },
      { kind: "set-link", name: bridge, alias: MADE_BRIDGE },
    ], { signal });
  } catch (error) {
    const made = await findLink(kernel, bridge, { signal });
    if (made === undefined) throw error;
    isBridge(made);
  }
  return true;
}

/** Returns the addresses of an interface; one in an unknown form is left out. */
export function cidrsOf({ addresses }: LinkInfo): readonly Cidr[] {
  return addresses.flatMap(({ address }) => parseCidr(address) ?? []);
}

/** The kernel notices the carrier of a new pair a moment later, and on a busy machine much later. The last one is repeated. */
const PORT_WAITS_MS = [0, 5, 20, 50, 100, 200];
const LONGEST_PORT_WAIT_MS = 30_000;

/** Options of {@linkcode waitForPort}. */
export interface PortWait {
  /** The last known state of the port, to save the first look. */
  readonly known: LinkInfo | undefined;
  readonly hostName: string;
  readonly log: (line: string) => void;
  /** How long it waits. @default {30,000 ms, or until the signal of the host ends it} */
  readonly longestMs?: number | undefined;
}

/**
 * Waits until the port is up. One that does not come up does not fail the call: everything is made, and whatever keeps it down may
 * end later.
 *
 * @throws {Error} If the port is gone.
 */
export async function waitForPort(
  host: Host,
  { known, hostName, log, longestMs = LONGEST_PORT_WAIT_MS }: PortWait,
): Promise<LinkInfo> {
  const end = performance.now() + longestMs;
  let link = known;
  for (let look = 0; link?.operState !== "UP"; look++) {
    if (link !== undefined && performance.now() >= end) {
      log(
        `bridge: warning: the state of port "${hostName}" is ${link.operState} after ${longestMs / 1_000} s`,
      );
      return link;
    }
    await delay(PORT_WAITS_MS[look] ?? PORT_WAITS_MS.at(-1) ?? 0, host.signal);
    link = await findLink(kernelFor(host.run), hostName, host);
    if (link === undefined) throw new Error(`Cannot use bridge port "${hostName}": it is gone`);
  }
  return link;
}
