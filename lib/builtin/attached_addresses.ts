import { type Ip, parseCidr } from "../cni/address.ts";
import { statOf } from "../host/file.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { withAddressStore } from "./address_store.ts";
import { DEFAULT_DATA_DIR } from "./host_local_config.ts";
import { recordedAddresses } from "./pair_attachment.ts";

/**
 * Returns the addresses of an attachment: those in the result of its ADD, or else those that its interface has now, or else
 * those that host-local keeps for it in its usual place. A DEL needs nothing of it to be right: each place may be empty.
 */
export async function attachedAddresses(request: PluginRequest): Promise<readonly Ip[]> {
  const recorded = recordedAddresses(request).flatMap((text) => parseCidr(text)?.ip ?? []);
  if (recorded.length > 0) return recorded;
  const inside = await addressesInside(request);
  return inside.length > 0 ? inside : await keptByHostLocal(request);
}

async function addressesInside({ netns, ifName, run, signal }: PluginRequest): Promise<readonly Ip[]> {
  if (netns === "" || await nsProblem(netns) !== undefined) return [];
  const link = await findLink(kernelFor(run), ifName, { netns, signal });
  const global = link?.addresses.filter(({ scope }) => scope === "global") ?? [];
  return global.flatMap(({ address }) => parseCidr(address)?.ip ?? []);
}

async function keptByHostLocal({ name, containerId, ifName, signal }: PluginRequest): Promise<readonly Ip[]> {
  const dir = `${DEFAULT_DATA_DIR}/${name}`;
  if (!(await statOf(dir))?.isDirectory) return [];
  return await withAddressStore(dir, signal, (store) => store.addressesOf({ containerId, ifName }), {
    adopts: false,
  });
}
