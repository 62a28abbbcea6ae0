import type { LinkInfo } from "../host/link_info.ts";
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
 * Only a pair without a tag, as the CNI plugins project makes them, is searched by the name of its end in the pod. An
 * interface with that name whose other end `isOurs` does not know was not made by this plugin, and is left.
 */
export async function removePair(
  host: Host,
  request: PluginRequest,
  isOurs: (hostEnd: LinkInfo) => boolean,
): Promise<void> {
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
  const port = (await vethsOfHost(kernel, { signal })).find((hostEnd) =>
    inside.kind === "veth" && inside.peerIndex === hostEnd.index && hostEnd.peerIndex === inside.index &&
    isOurs(hostEnd) && !isTag(hostEnd.alias)
  );
  if (port !== undefined) await removeLink(kernel, port.name, { signal });
  else request.log(`"${ifName}" is left as it is: this plugin did not make its other end`);
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
