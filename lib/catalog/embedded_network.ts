import { type Cidr, parseCidr } from "../cni/address.ts";
import { type NetworkConfigList, parseConfigList } from "../cni/config.ts";
import { DEFAULT_PATH } from "../host/command.ts";
import { statOf } from "../host/file.ts";
import { ALWAYS_BUILTIN } from "../plugin/locate.ts";

/** What this machine provides for the embedded network. */
export interface EmbeddedOptions {
  /** The program for rules; undefined if there is none. */
  readonly masquerade: "nftables" | "iptables" | undefined;
  /** Whether a new interface has IPv6. */
  readonly ipv6: boolean;
}

/** What was chosen for the embedded network of this machine. */
export interface EmbeddedChoice {
  /** @default {10.209.0.0/16} */
  readonly ipv4?: string | undefined;
  /** @default {fd50:7704::/64} */
  readonly ipv6?: string | undefined;
  /** The largest packet, in bytes. @default {that of the kernel} */
  readonly mtu?: number | undefined;
}

/** Stands for the file of the embedded network, which has none. */
export const EMBEDDED_FILE = "(embedded)";

/** The bridge of the embedded network. */
export const EMBEDDED_BRIDGE = "pw0";

const SUBNETS = { 4: "10.209.0.0/16", 6: "fd50:7704::/64" } as const;

/** The subnets of the embedded network unless others were chosen, of IPv4 and of IPv6. */
export const EMBEDDED_SUBNETS: readonly Cidr[] = Object.values(SUBNETS).flatMap((text) =>
  parseCidr(text) ?? []
);

/**
 * The network of a machine whose configuration directory holds none: bridge `pw0`, 10.209.0.0/16
 * and fd50:7704::/64 unless others were chosen, built-in plugins only. It publishes ports, opens what the host's rules for
 * forwarded packets close, and keeps containers of other networks of podwire out.
 */
export function embeddedNetwork(
  { masquerade, ipv6 }: EmbeddedOptions,
  choice: EmbeddedChoice = {},
): NetworkConfigList {
  const ipam = ipamOf(ipv6, choice);
  const { mtu } = choice;
  // Plugins on disk may not know all of these members or the version, and this network has to work without configuration.
  const builtin = { [ALWAYS_BUILTIN]: true };
  return parseConfigList(JSON.stringify({
    cniVersion: "1.1.0",
    name: "podwire",
    plugins: [
      {
        type: "bridge",
        ...builtin,
        bridge: EMBEDDED_BRIDGE,
        isGateway: true,
        ipMasq: true,
        ...(masquerade === undefined ? {} : { ipMasqBackend: masquerade }),
        hairpinMode: true,
        // The bridge is removed with its last container, so that nothing is left on the machine.
        removeEmptyBridge: true,
        ...(mtu === undefined ? {} : { mtu }),
        capabilities: { ips: true, mac: true, dns: true, aliases: true },
        ipam: { ...ipam, routes: [{ dst: "0.0.0.0/0" }, ...(ipv6 ? [{ dst: "::/0" }] : [])] },
      },
      {
        type: "portmap",
        ...builtin,
        ...(masquerade === undefined ? {} : { backend: masquerade }),
        capabilities: { portMappings: true },
      },
      { type: "firewall", ...builtin, ingressPolicy: "same-bridge", dropInvalid: true },
    ],
  }));
}

/**
 * The network of {@linkcode embeddedNetwork} without a way out. Nothing of the machine changes but the links that go with it: no
 * rule, no forwarding, no address of the host.
 */
export function closedNetwork(
  { ipv6 }: Pick<EmbeddedOptions, "ipv6">,
  choice: EmbeddedChoice = {},
): NetworkConfigList {
  return parseConfigList(JSON.stringify({
    cniVersion: "1.1.0",
    name: "podwire",
    plugins: [{
      type: "bridge",
      [ALWAYS_BUILTIN]: true,
      bridge: EMBEDDED_BRIDGE,
      removeEmptyBridge: true,
      ipam: ipamOf(ipv6, choice),
    }],
  }));
}

/** Whether a network is the one of {@linkcode embeddedNetwork}. */
export function isEmbedded({ plugins: [first] }: NetworkConfigList): boolean {
  return first?.json[ALWAYS_BUILTIN] === true && first.json.bridge === EMBEDDED_BRIDGE &&
    first.json.isGateway === true;
}

function ipamOf(hasIpv6: boolean, { ipv4 = SUBNETS[4], ipv6 = SUBNETS[6] }: EmbeddedChoice) {
  return { type: "host-local", ranges: [[{ subnet: ipv4 }], ...(hasIpv6 ? [[{ subnet: ipv6 }]] : [])] };
}

/** Finds out which program for rules this machine has. */
export async function programForRules(path = DEFAULT_PATH): Promise<EmbeddedOptions["masquerade"]> {
  if (await isOnPath("nft", path)) return "nftables";
  return await isOnPath("iptables", path) ? "iptables" : undefined;
}

async function isOnPath(program: string, path: string): Promise<boolean> {
  for (const dir of path.split(":")) {
    // A directory that this user may not read holds no program that it could run.
    const found = dir === "" ? undefined : await statOf(`${dir}/${program}`).catch(() => undefined);
    if (found?.isFile) return true;
  }
  return false;
}
