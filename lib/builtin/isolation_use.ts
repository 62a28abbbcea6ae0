import { type Lock, lockFile } from "../host/lock.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink, vethsOfHost } from "../kernel/links.ts";
import type { Host } from "./host.ts";

const LOCK = "/run/podwire/isolation.lock";

/**
 * Prevents that the rules of a bridge are removed while an attachment relies on them: they are there, so it does not make
 * them.
 */
export async function holdIsolation(signal: AbortSignal): Promise<Lock> {
  return await lockFile(LOCK, { signal, shared: true });
}

/** Waits until no other process relies on what it has just seen of the rules. */
export async function lockIsolation(signal: AbortSignal): Promise<Lock> {
  return await lockFile(LOCK, { signal });
}

/**
 * Returns those of the devices that no container uses any more, apart from the one whose interfaces `isOwn` knows: a bridge
 * without ports, the gateway of a VLAN on such a bridge, or a device that is gone.
 */
export async function unusedDevices(
  host: Host,
  devices: readonly string[],
  isOwn: (link: { readonly name: string; readonly alias: string }) => boolean,
): Promise<ReadonlySet<string>> {
  const unused = new Set<string>();
  if (devices.length === 0) return unused;
  const kernel = kernelFor(host.run);
  const others = (await vethsOfHost(kernel, host)).filter((veth) => !isOwn(veth));
  for (const device of devices) {
    const link = await findLink(kernel, device, { signal: host.signal });
    const bridge = link?.kind === "bridge"
      ? device
      : others.find(({ name }) => name === link?.parent)?.master ?? "";
    const isUsed = link !== undefined &&
      (bridge === ""
        ? !isOwn(link)
        : others.some(({ name, master }) => master === bridge && name !== link.parent));
    if (!isUsed) unused.add(device);
  }
  return unused;
}
