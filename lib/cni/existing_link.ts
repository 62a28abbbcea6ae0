import type { NetworkConfigList } from "./config.ts";

/**
 * The plugins that make no interface and, on DEL, remove none: they change one that is there, its traffic, or what
 * surrounds it. `loopback` is one of them, as `lo` is always there. Any other type may make the interface of
 * `CNI_IFNAME`: to take a plugin wrongly for one that does costs an error message, the opposite costs somebody's link.
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

/** A member of the first plugin's configuration that says of a type which is not in the list that it is one of these. */
export const EXISTING_LINK = "podwireExistingLink";

/** Whether the network is meant for an interface that is there already: its first plugin makes none. */
export function isForExistingLink({ plugins: [first] }: NetworkConfigList): boolean {
  return first !== undefined &&
    (WORKS_ON_EXISTING_LINKS.has(first.type) || first.json[EXISTING_LINK] === true);
}

/** Whether no plugin of the network removes an interface on DEL. */
export function keepsLinks({ plugins }: NetworkConfigList): boolean {
  return plugins.every(({ type, json }) => WORKS_ON_EXISTING_LINKS.has(type) || json[EXISTING_LINK] === true);
}
