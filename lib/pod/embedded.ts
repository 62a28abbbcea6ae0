import { type NetworkConfigList, parseConfigList } from "../spec/config.ts";

/** What this machine can do for the embedded network. */
export interface EmbeddedOptions {
  /** What can masquerade here, if anything. */
  readonly masquerade: "nftables" | "iptables" | undefined;
  /** Whether the kernel has IPv6. */
  readonly ipv6: boolean;
}

/** Where the embedded network is said to come from. */
export const EMBEDDED_FILE = "(embedded)";

/**
 * The network of a machine whose configuration directory holds none: bridge `pw0`, 10.209.0.0/16
 * and fd50:7704::/64, built-in plugins only.
 */
export function embeddedNetwork({ masquerade, ipv6 }: EmbeddedOptions): NetworkConfigList {
  const ranges = [[{ subnet: "10.209.0.0/16" }], ...(ipv6 ? [[{ subnet: "fd50:7704::/64" }]] : [])];
  const routes = [{ dst: "0.0.0.0/0" }, ...(ipv6 ? [{ dst: "::/0" }] : [])];
  return parseConfigList(JSON.stringify({
    cniVersion: "1.1.0",
    name: "podwire",
    plugins: [{
      type: "bridge",
      bridge: "pw0",
      isGateway: true,
      ipMasq: masquerade !== undefined,
      ...(masquerade === undefined ? {} : { ipMasqBackend: masquerade }),
      hairpinMode: true,
      // The machine is left as it was found: with its last container the bridge goes.
      removeEmptyBridge: true,
      capabilities: { ips: true, mac: true },
      ipam: { type: "host-local", ranges, routes },
    }],
  }));
}
