import { type Lock, lockFile } from "../host/lock.ts";
import { removeLink, showLink } from "./bridge_port.ts";
import type { Host } from "./host.ts";
import { ipBatchJson, objectsIn } from "../host/ip_batch.ts";

/**
 * Keeps a bridge that is removed when it is empty from being removed, while a port is added: between
 * making the bridge and adding the first port it is empty too.
 */
export async function holdBridge(bridge: string, signal: AbortSignal): Promise<Lock> {
  return await lockFile(lockPath(bridge), { signal, shared: true });
}

/**
 * Removes the bridge if it has no port. It is asked of `ip`, not of /sys: that shows the namespace in which it was
 * mounted, which need not be the one that this process is in.
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
