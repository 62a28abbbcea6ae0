import { DHCP, keepsLeases, requireDhcpDaemon } from "../plugin/dhcp.ts";
import { findPlugin } from "../plugin/find.ts";
import type { PluginRequest } from "../plugin/serve.ts";

/**
 * Lets the IPAM plugin check the addresses of an attachment; does nothing without one. A `dhcp` whose CHECK would begin a second
 * lease is not called: then only its daemon has to be there.
 *
 * @throws {CniError} What the IPAM plugin answers; kind `not-ready`, code 50, without the daemon.
 */
export async function checkIpam(request: PluginRequest, ipamType: string): Promise<void> {
  if (ipamType === "") return;
  if (ipamType === DHCP) {
    await requireDhcpDaemon(request.config);
    if (await beginsSecondLease(request)) return;
  }
  await request.delegate(ipamType, request.config, "CHECK");
}

async function beginsSecondLease({ path: dirs, run, signal }: PluginRequest): Promise<boolean> {
  // Of a file that is missing or not safe the call itself says so.
  const found = await findPlugin(DHCP, dirs).catch(() => undefined);
  return found?.path !== undefined && !await keepsLeases(found.path, { run, signal });
}
