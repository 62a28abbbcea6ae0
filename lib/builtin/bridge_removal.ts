import { ipBatchJson, objectsIn } from "../host/ip_batch.ts";
import { type Lock, lockFile } from "../host/lock.ts";
import { removeLink, showLink } from "./bridge_port.ts";
import type { Host } from "./host.ts";

/**
 * Prevents that a bridge with `removeEmptyBridge` is removed while a port is added: between the creation of the bridge and
 * its first port it is empty too.
 */
export async function holdBridge(bridge: string, signal: AbortSignal): Promise<Lock> {
  return await lockFile(lockPath(bridge), { signal, shared: true });
}

/**
 * Removes the bridge if it has no port. `ip` shows the ports, not /sys: /sys shows the namespace in which it was mounted,
 * which may not be the one of this process.
 */
export async function removeEmptyBridge(host: Host, bridge: string): Promise<void> {
  using lock = await lockFile(lockPath(bridge), { signal: host.signal });
  if ((await showLink(host, bridge))?.kind === "bridge") {
    const [ports] = await ipBatchJson([`link show master ${bridge}`], host);
    if (objectsIn(ports).length > 0) return;
    await removeLink(host, bridge);
  }
  await lock.remove();
}

function lockPath(bridge: string): string {
  return `/run/podwire/bridge-${bridge}.lock`;
}
