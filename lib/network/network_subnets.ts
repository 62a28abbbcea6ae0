import { EMBEDDED_FILE } from "../catalog/embedded_network.ts";
import { networkOf, parseCidr } from "../cni/address.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { isArray, isObject, type Json, type JsonObject, member } from "../cni/json.ts";
import type { CatalogFile } from "../catalog/entry.ts";
import type { TakenSubnet } from "./taken_subnet.ts";

/** What messages call the network that has no file. */
export const EMBEDDED_NETWORK = "the embedded network";

/** A network and its file. */
export type NetworkFile = Pick<CatalogFile, "file" | "list">;

/**
 * Returns the subnets from which the networks of these files give addresses, as far as `host-local` and `static` say so; a
 * network without addresses of its own, such as one with DHCP, has none.
 */
export function subnetsOfNetworks(files: readonly NetworkFile[]): readonly TakenSubnet[] {
  return files.flatMap(({ file, list }) =>
    list === undefined ? [] : subnetTexts(list).flatMap((text) => {
      const cidr = parseCidr(text);
      const by = file === EMBEDDED_FILE
        ? EMBEDDED_NETWORK
        : `the network "${list.name}" (${file.slice(file.lastIndexOf("/") + 1)})`;
      return cidr === undefined ? [] : [{ subnet: networkOf(cidr), by }];
    })
  );
}

/** Returns the subnets of a network as its configuration writes them. */
export function subnetTexts(list: NetworkConfigList): readonly string[] {
  return list.plugins.flatMap(({ json }) => {
    const ipam = member(json, "ipam");
    if (!isObject(ipam)) return [];
    const ranges = objectsOf(member(ipam, "ranges"), 2);
    const addresses = objectsOf(member(ipam, "addresses"), 1);
    return [
      ...textOf(ipam, "subnet"),
      ...ranges.flatMap((range) => textOf(range, "subnet")),
      ...addresses.flatMap((address) => textOf(address, "address")),
    ];
  });
}

/** Returns the objects in lists that lie so deep in each other. */
function objectsOf(json: Json | undefined, depth: number): readonly JsonObject[] {
  if (depth === 0) return isObject(json) ? [json] : [];
  return isArray(json) ? json.flatMap((item) => objectsOf(item, depth - 1)) : [];
}

function textOf(object: JsonObject, key: string): readonly string[] {
  const value = member(object, key);
  return typeof value === "string" && value !== "" ? [value] : [];
}
