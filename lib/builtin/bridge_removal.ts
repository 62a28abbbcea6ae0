import { type Lock, lockFile } from "../host/lock.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink, removeLink } from "../kernel/links.ts";
import type { Host } from "./host.ts";

/**
 * Prevents that a bridge with `removeEmptyBridge` is removed while a port is added: between the creation of the bridge and
 * its first port it is empty too.
 */
export async function holdBridge(bridge: string, signal: AbortSignal): Promise<Lock> {
  return await lockFile(lockPath(bridge), { signal, shared: true });
}

/**
 * Removes the bridge if it has no port. The kernel is asked for the ports, not /sys: /sys shows the namespace in which it was mounted,
 * which may not be the one of this process.
 */
export async function removeEmptyBridge(host: Host, bridge: string): Promise<void> {
  const { signal } = host;
  const kernel = kernelFor(host.run);
  using lock = await lockFile(lockPath(bridge), { signal });
  if ((await findLink(kernel, bridge, { signal }))?.kind === "bridge") {
    const [ports] = await kernel.apply([{ kind: "show-links", bridge }], { signal });
    if (ports.length > 0) return;
    await removeLink(kernel, bridge, { signal });
  }
  await lock.remove();
}

function lockPath(bridge: string): string {
  return `/run/podwire/bridge-${bridge}.lock`;
}
