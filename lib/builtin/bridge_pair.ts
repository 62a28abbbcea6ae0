import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink, linksByAlias, removeLink, vethsOfHost } from "../kernel/links.ts";
import { type HostVeth, removeHostVeths } from "../kernel/veth.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { attachmentTag, isTag } from "./attachment_tag.ts";
import type { Host } from "./host.ts";

/**
 * Removes the pair of an attachment, even if the pod has moved or renamed its end: the pod cannot reach the end on the host,
 * and both ends disappear together. When this returns, nothing of the pair is left, and its address can be used again.
 *
 * Only a pair without a tag, as the bridge plugin of the CNI plugins project makes them, is searched by the name of its end
 * in the pod. An interface with that name that is not connected to a port of the bridge was not made by this plugin, and is
 * left.
 */
export async function removePair(host: Host, bridge: string, request: PluginRequest): Promise<void> {
  const { name: network, containerId, ifName, netns } = request;
  const { signal } = host;
  const kernel = kernelFor(host.run);
  const tag = await attachmentTag({ network, containerId, ifName });
  const tagged = await linksByAlias(kernel, (alias) => alias.startsWith(tag), { signal });
  for (const name of tagged) await removeLink(kernel, name, { signal });
  const recorded = tagged.length > 0 ? [] : await removeHostVeths(kernel, hostEnds(request), { signal });
  if (tagged.length + recorded.length > 0 || netns === "" || await nsProblem(netns) !== undefined) return;
  const inside = await findLink(kernel, ifName, { netns, signal });
  if (inside === undefined) return;
  const port = (await vethsOfHost(kernel, { signal })).find(({ index, peerIndex, master, alias }) =>
    bridge !== "" && inside.kind === "veth" && inside.peerIndex === index && peerIndex === inside.index &&
    master === bridge &&
    !isTag(alias)
  );
  if (port !== undefined) await removeLink(kernel, port.name, { signal });
  else request.log(`bridge: "${ifName}" is left as it is: it is not the other end of a port of "${bridge}"`);
}

/** The ends on the host in the result of the ADD; none if it cannot be read, which must not prevent a DEL. */
function hostEnds(request: PluginRequest): readonly HostVeth[] {
  try {
    const { interfaces = [] } = request.prevResult ?? {};
    return interfaces.flatMap(({ name, mac = "", sandbox = "" }) =>
      sandbox === "" && mac !== "" ? [{ name, mac }] : []
    );
  } catch {
    return [];
  }
}
