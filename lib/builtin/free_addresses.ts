import { DHCP, dhcpSocketOf } from "../plugin/dhcp.ts";
import { hasListener } from "../host/unix_listener.ts";
import type { PluginRequest } from "../plugin/serve.ts";

/**
 * Frees an address that can be freed only through the interface: a DHCP daemon sends the release through it. To be called before
 * the interface is removed, or leaves the container.
 *
 * Without a daemon there is no lease to give back, which must not prevent a DEL: the server ends it when its time is over.
 */
export async function freeThroughLink(
  request: PluginRequest,
  ipamType: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  if (ipamType !== DHCP) return;
  const socket = dhcpSocketOf(request.config);
  if (socket !== undefined && !await hasListener(socket)) {
    request.log(`no DHCP daemon listens at ${socket}: the server has the lease until its time is over`);
    return;
  }
  await request.delegate(ipamType, request.config, "DEL", options);
}

/** Frees an address when nothing uses it any more: from then on, another container may get it. */
export async function freeAddresses(request: PluginRequest, ipamType: string): Promise<void> {
  if (ipamType === "" || ipamType === DHCP) return;
  await request.delegate(ipamType, request.config, "DEL");
}
