import { contains, parseCidr } from "./address.ts";

const LOOPBACK_NETWORKS = ["127.0.0.0/8", "::1/128"].flatMap((text) => parseCidr(text) ?? []);

/** Returns the first of these addresses of `lo`, each with its prefix length, that is not for loopback. */
export function findForeignAddress(addresses: readonly string[]): string | undefined {
  return addresses.find((text) => {
    const ip = parseCidr(text)?.ip;
    return ip === undefined || !LOOPBACK_NETWORKS.some((network) => contains(network, ip));
  });
}
