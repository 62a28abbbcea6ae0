import type { NetworkConfigList } from "./config.ts";

/**
 * Plugins that do not create an interface and, on DEL, remove none: they change an existing interface, its traffic, or
 * its environment. `loopback` is one of them, because `lo` always exists. Any other type counts as one that creates the
 * interface of `CNI_IFNAME`: if that is wrong, it costs an error message; the opposite mistake would cost a link of the
 * host.
 *
 * Source: https://www.cni.dev/plugins/current/ ("Meta" plugins), and the chained plugins of service meshes.
 */
const WORKS_ON_EXISTING_LINKS: ReadonlySet<string> = new Set([
  "bandwidth",
  "firewall",
  "loopback",
  "portmap",
  "route-override",
  "sbr",
  "tuning",
  "vrf",
  "istio-cni",
  "linkerd-cni",
]);

/** A member of the first plugin's configuration that makes a type count as one of this list. */
export const EXISTING_LINK = "podwireExistingLink";

/** Whether the network is for an interface that already exists: its first plugin does not create one. */
export function isForExistingLink({ plugins: [first] }: Pick<NetworkConfigList, "plugins">): boolean {
  return first !== undefined &&
    (WORKS_ON_EXISTING_LINKS.has(first.type) || first.json[EXISTING_LINK] === true);
}

/** Whether no plugin of the network removes an interface on DEL. */
export function keepsLinks({ plugins }: NetworkConfigList): boolean {
  return plugins.every(({ type, json }) => WORKS_ON_EXISTING_LINKS.has(type) || json[EXISTING_LINK] === true);
}
