import { type Cidr, parseCidr } from "../cni/address.ts";
import { type NetworkConfigList, parseConfigList } from "../cni/config.ts";
import { DEFAULT_PATH } from "../host/command.ts";
import { statOf } from "../host/file.ts";
import { ALWAYS_BUILTIN } from "../plugin/locate.ts";

/** What this machine provides for the embedded network. */
export interface EmbeddedOptions {
  /** The backend for masquerading; undefined if there is none. */
  readonly masquerade: "nftables" | "iptables" | undefined;
  /** Whether the kernel has IPv6. */
  readonly ipv6: boolean;
}

/** Stands for the file of the embedded network, which has none. */
export const EMBEDDED_FILE = "(embedded)";

const SUBNETS = { 4: "10.209.0.0/16", 6: "fd50:7704::/64" } as const;

/** The subnets of the embedded network, of IPv4 and of IPv6. */
export const EMBEDDED_SUBNETS: readonly Cidr[] = Object.values(SUBNETS).flatMap((text) =>
  parseCidr(text) ?? []
);

/**
 * The network of a machine whose configuration directory holds none: bridge `pw0`, 10.209.0.0/16
 * and fd50:7704::/64, built-in plugins only.
 */
export function embeddedNetwork({ masquerade, ipv6 }: EmbeddedOptions): NetworkConfigList {
  const ranges = [[{ subnet: SUBNETS[4] }], ...(ipv6 ? [[{ subnet: SUBNETS[6] }]] : [])];
  const routes = [{ dst: "0.0.0.0/0" }, ...(ipv6 ? [{ dst: "::/0" }] : [])];
  return parseConfigList(JSON.stringify({
    cniVersion: "1.1.0",
    name: "podwire",
    plugins: [{
      type: "bridge",
      // Plugins on disk may not know all of these members or the version, and this network has to work without configuration.
      [ALWAYS_BUILTIN]: true,
      bridge: "pw0",
      isGateway: true,
      ipMasq: masquerade !== undefined,
      ...(masquerade === undefined ? {} : { ipMasqBackend: masquerade }),
      hairpinMode: true,
      // The bridge is removed with its last container, so that nothing is left on the machine.
      removeEmptyBridge: true,
      capabilities: { ips: true, mac: true },
      ipam: { type: "host-local", ranges, routes },
    }],
  }));
}

/** Finds out what this machine provides for the embedded network. */
export async function machineFacts(path = DEFAULT_PATH): Promise<EmbeddedOptions> {
  const ipv6 = await statOf("/proc/sys/net/ipv6") !== undefined;
  if (await isOnPath("nft", path)) return { ipv6, masquerade: "nftables" };
  return { ipv6, masquerade: await isOnPath("iptables", path) ? "iptables" : undefined };
}

async function isOnPath(program: string, path: string): Promise<boolean> {
  for (const dir of path.split(":")) {
    // A directory that this user may not read holds no program that it could run.
    const found = dir === "" ? undefined : await statOf(`${dir}/${program}`).catch(() => undefined);
    if (found?.isFile) return true;
  }
  return false;
}
