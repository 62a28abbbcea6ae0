import { nsProblem } from "../host/netns.ts";
import { type HostVeth, removeHostVeths } from "../host/veth.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { attachmentTag, isTag } from "./attachment_tag.ts";
import { linksByAlias, removeLink, showLink, vethsOfHost } from "./bridge_port.ts";
import type { Host } from "./host.ts";

/**
 * Removes the pair of an attachment, wherever the pod has put its end and whatever it calls it: the end on the host is out
 * of its reach, and with it both go. When this returns, nothing of the pair is left, and its address can go to another.
 *
 * Only a pair without a mark is looked for by the name of its end in the pod, as the bridge plugin of the CNI plugins
 * project makes them; what has that name and is no port of the bridge was made by others, and is left.
 */
export async function removePair(host: Host, bridge: string, request: PluginRequest): Promise<void> {
  const { name: network, containerId, ifName, netns } = request;
  const tag = await attachmentTag({ network, containerId, ifName });
  const marked = await linksByAlias(host, (alias) => alias.startsWith(tag));
  for (const name of marked) await removeLink(host, name);
  const recorded = marked.length > 0 ? [] : await removeHostVeths(hostEnds(request), host);
  if (marked.length + recorded.length > 0 || netns === "" || await nsProblem(netns) !== undefined) return;
  const inside = await showLink(host, ifName, netns);
  if (inside === undefined) return;
  const port = (await vethsOfHost(host)).find(({ index, peerIndex, master, alias }) =>
    bridge !== "" && inside.kind === "veth" && inside.peerIndex === index && peerIndex === inside.index &&
    master === bridge &&
    !isTag(alias)
  );
  if (port !== undefined) await removeLink(host, port.name);
  else request.log(`bridge: "${ifName}" is left as it is: it is not the other end of a port of "${bridge}"`);
}

/** What an ADD had for a result must not bar the way if it cannot be read. */
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
