import { delay } from "../async/wait.ts";
import { type Cidr, parseCidr } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import { IpBatchError, ipBatchJson } from "../host/ip_batch.ts";
import { type LinkInfo, parseLinks } from "../host/link_info.ts";
import type { BridgeConfig } from "./bridge_config.ts";
import type { Host } from "./host.ts";

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
 * Makes the pair with one end in the container, in one process start if the bridge exists. Both MAC addresses are chosen
 * here: so they need not be read back, and network managers do not change addresses that were set explicitly.
 *
 * After a failure nothing of the pair is left.
 */
export async function addPort(host: Host, request: PortRequest): Promise<BridgePort> {
  const { config, ifName, netns } = request;
  const containerMac = config.mac || randomMac();
  for (let attempt = 1;; attempt++) {
    const hostName = `veth${randomHex(4)}`;
    try {
      const [shown] = await ipBatchJson(portLines(request, hostName, containerMac), host);
      const [bridge] = parseLinks(shown);
      if (bridge === undefined) throw new Error(`ip did not show "${config.bridge}"`);
      return { hostName, containerMac, bridge };
    } catch (error) {
      const line = error instanceof IpBatchError ? error.failed?.index ?? -1 : undefined;
      if (line !== 0) {
        // With its own time limit: the limit of the caller may be the reason of the failure.
        await removeLink({ run: host.run, signal: AbortSignal.timeout(UNDO_MS) }, hostName).catch(() => {});
      }
      // If the first line failed, it made nothing; if ip named no line, it did not know the bridge.
      if (line === undefined || line > 0) throw error;
      if (attempt === ATTEMPTS) throw error;
      if (await ensureBridge(host, config)) continue;
      if (await showLink(host, ifName, netns) !== undefined) {
        throw new CniError(
          "conflict",
          `Cannot create interface "${ifName}" in "${netns}": it already exists`,
        );
      }
      // Another caller made the bridge meanwhile, or the name on the host was taken: try again.
    }
  }
}

function portLines(request: PortRequest, hostName: string, containerMac: string): string[] {
  const { config, ifName, netns, comment } = request;
  const mtu = config.mtu === 0 ? "" : ` mtu ${config.mtu}`;
  const onOff = (on: boolean) => on ? "on" : "off";
  return [
    `link add name ${hostName} address ${randomMac()}${mtu} master ${config.bridge} up type veth ` +
    `peer name ${ifName} address ${containerMac}${mtu} netns "${netns}"`,
    `link set dev ${hostName} type bridge_slave hairpin ${onOff(config.hairpinMode)} ` +
    `isolated ${onOff(config.portIsolation)}`,
    `link set dev ${hostName} alias "${comment}"`,
    `link set dev ${config.bridge} up${config.promiscMode ? " promisc on" : ""}`,
    `address show dev ${config.bridge}`,
  ];
}

/**
 * Makes the bridge if there is none; returns false if there was one. Of several concurrent callers one makes it, and the
 * others find it.
 *
 * Its MAC address is set explicitly: the kernel would use the lowest one of the ports, and change it with them.
 */
async function ensureBridge(host: Host, config: BridgeConfig): Promise<boolean> {
  const { bridge, mtu } = config;
  const isBridge = (link: LinkInfo) => {
    if (link.kind === "bridge") return;
    throw new CniError(
      "conflict",
      `Cannot use bridge "${bridge}": the interface with that name is not a bridge`,
    );
  };
  const there = await showLink(host, bridge);
  if (there !== undefined) {
    isBridge(there);
    return false;
  }
  try {
    const size = mtu === 0 ? "" : ` mtu ${mtu}`;
    await ipBatchJson([`link add name ${bridge} address ${randomMac()}${size} type bridge`], host);
  } catch (error) {
    const made = await showLink(host, bridge);
    if (made === undefined) throw error;
    isBridge(made);
  }
  return true;
}

/** Returns one interface as `ip` shows it; undefined if there is none with that name. */
export async function showLink(host: Host, name: string, netns?: string): Promise<LinkInfo | undefined> {
  try {
    const [shown] = await ipBatchJson([`link show dev ${name}`], { ...host, netns, flags: ["-d", "-j"] });
    return parseLinks(shown)[0];
  } catch (error) {
    if (error instanceof IpBatchError && error.failed?.index === 0) return undefined;
    throw error;
  }
}

/** Removes an interface, and with it the other end of its pair; returns false if there is none. */
export async function removeLink(host: Host, name: string, netns?: string): Promise<boolean> {
  try {
    await ipBatchJson([`link delete dev ${name}`], { ...host, netns });
    return true;
  } catch (error) {
    if (!(error instanceof IpBatchError)) throw error;
    if (await showLink(host, name, netns) !== undefined) throw error;
    return false;
  }
}

/** Returns the addresses of an interface; one in an unknown form is left out. */
export function cidrsOf({ addresses }: LinkInfo): readonly Cidr[] {
  return addresses.flatMap(({ address }) => parseCidr(address) ?? []);
}

/** Returns the ends of veth pairs that are on this host. */
export async function vethsOfHost(host: Host): Promise<readonly LinkInfo[]> {
  const [shown] = await ipBatchJson(["link show type veth"], host);
  return parseLinks(shown);
}

/** Returns the names of the veths of this host with an alias for which `select` is true. */
export async function linksByAlias(host: Host, select: (alias: string) => boolean): Promise<string[]> {
  const veths = await vethsOfHost(host);
  return veths.filter(({ alias }) => alias !== "" && select(alias)).map(({ name }) => name);
}

/** The kernel notices the carrier of a new pair a moment later. */
const PORT_WAITS_MS = [0, 5, 20, 50, 100, 200, 500, 1_000, 1_000];

/** Waits until the port is up. `known` is its last known state, to save the first command. */
export async function waitForPort(
  host: Host,
  known: LinkInfo | undefined,
  hostName: string,
): Promise<LinkInfo> {
  let link = known;
  for (const wait of PORT_WAITS_MS) {
    if (link?.operState === "UP") return link;
    await delay(wait, host.signal);
    link = await showLink(host, hostName);
  }
  throw new Error(`Cannot use bridge port "${hostName}": its state is ${link?.operState ?? "unknown"}`);
}

/** Locally administered, not multicast. */
function randomMac(): string {
  const [first = 0, ...rest] = crypto.getRandomValues(new Uint8Array(6));
  return [(first & 0xfe) | 0x02, ...rest].map(hex).join(":");
}

function randomHex(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), hex).join("");
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
