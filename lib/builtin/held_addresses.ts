import { breathe } from "../async/breathe.ts";
import { formatIp, parseIp } from "../cni/address.ts";
import type { JsonObject } from "../cni/json.ts";
import { namesNow } from "../host/file_now.ts";
import { holderIn } from "./address_store.ts";
import { storeDirs } from "./kept_addresses.ts";

/** An address that the store of host-local has for a container. */
export interface HeldAddress {
  /** The directory of the network. */
  readonly dir: string;
  readonly address: string;
  readonly containerId: string;
}

/**
 * Returns the addresses in the stores of a network's plugins, without their locks: one may be given or freed meanwhile. A file
 * that names no container is left out. Requires `--allow-read` for the directories.
 */
export async function heldAddresses(
  plugins: readonly JsonObject[],
  network: string,
): Promise<readonly HeldAddress[]> {
  const held: HeldAddress[] = [];
  for (const dir of storeDirs(plugins, network)) {
    for (const address of namesNow(dir).sort()) {
      await breathe();
      const ip = parseIp(address);
      if (ip === undefined || formatIp(ip) !== address) continue;
      const holder = await holderIn(dir, ip);
      if (holder !== undefined) held.push({ dir, address, containerId: holder.containerId });
    }
  }
  return held;
}
