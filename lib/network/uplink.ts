import { FAMILIES, type Family } from "../cni/default_route.ts";
import { HostError } from "../host/command.ts";
import type { Kernel, KernelOptions } from "../kernel/kernel.ts";
import { findLink } from "../kernel/links.ts";
import { preferredRoute } from "../kernel/preferred_route.ts";

/** An interface of this host through which packets leave it. */
export interface Uplink {
  readonly family: Family;
  readonly device: string;
  /** The largest packet, in bytes. */
  readonly mtu: number;
}

/**
 * Returns the interfaces that the best default route of each family leads through; none without a default route, and none of a
 * family that the kernel does not have.
 *
 * Permissions: `--allow-run=ip` or the whole `--allow-ffi`.
 */
export async function uplinksOf(
  kernel: Kernel,
  { signal }: Pick<KernelOptions, "signal"> = {},
): Promise<readonly Uplink[]> {
  const uplinks: Uplink[] = [];
  for (const family of FAMILIES) {
    for (const device of await devicesOf(kernel, family, signal)) {
      const mtu = (await findLink(kernel, device, { signal }))?.mtu;
      if (mtu !== undefined) uplinks.push({ family, device, mtu });
    }
  }
  return uplinks;
}

/** Returns the one that takes the smallest packets. */
export function narrowest(uplinks: readonly Uplink[]): Uplink | undefined {
  return uplinks.toSorted((a, b) => a.mtu - b.mtu)[0];
}

async function devicesOf(
  kernel: Kernel,
  family: Family,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string>> {
  try {
    const [routes] = await kernel.apply([{ kind: "show-routes", family, defaults: true }], { signal });
    return new Set(preferredRoute(routes)?.hops.map(({ device }) => device));
  } catch (error) {
    if (error instanceof HostError) return new Set();
    throw error;
  }
}
