import { listDir } from "../host/file.ts";
import { type Lock, lockFile } from "../host/lock.ts";
import { removeLink } from "./bridge_port.ts";
import type { Host } from "./ip_script.ts";

/**
 * Keeps a bridge that is removed when it is empty from being removed, while a port is added: between
 * making the bridge and adding the first port it is empty too.
 */
export async function holdBridge(bridge: string, signal: AbortSignal): Promise<Lock> {
  return await lockFile(lockPath(bridge), { signal, shared: true });
}

/** Removes the bridge if it has no port. */
export async function removeEmptyBridge(host: Host, bridge: string): Promise<void> {
  using _lock = await lockFile(lockPath(bridge), { signal: host.signal });
  if ((await listDir(`/sys/class/net/${bridge}/brif`)).length === 0) await removeLink(host, bridge);
}

function lockPath(bridge: string): string {
  return `/run/podwire/bridge-${bridge}.lock`;
}
