import { formatCidr } from "../cni/address.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import { subnetsOfNetworks } from "../network/network_subnets.ts";
import { overlapsOf } from "../network/taken_subnet.ts";

/**
 * Refuses different networks whose subnets overlap: a sandbox on both could not reach the containers of one of them.
 *
 * @throws {CniError} kind `conflict`, naming both networks and subnets
 */
export function requireApartNetworks(lists: readonly NetworkConfigList[]): void {
  const byName = [...new Map(lists.map((list) => [list.name, list])).values()];
  for (const [index, list] of byName.entries()) {
    const before = byName.slice(0, index).flatMap((other) =>
      subnetsOf(other).map(({ subnet }) => ({ subnet, by: `the network "${other.name}"` }))
    );
    for (const { subnet } of subnetsOf(list)) {
      const [overlap] = overlapsOf(subnet, before).refused;
      if (overlap === undefined) continue;
      const other = `${formatCidr(overlap.subnet)} of ${overlap.by}`;
      throw new CniError(
        "conflict",
        `${formatCidr(subnet)} of the network "${list.name}" overlaps with ${other}`,
        {
          network: list.name,
          hint: "a sandbox on both cannot reach all of their containers; --allow-overlap allows it",
        },
      );
    }
  }
}

function subnetsOf(list: NetworkConfigList) {
  return subnetsOfNetworks([{ file: "", list }]);
}
