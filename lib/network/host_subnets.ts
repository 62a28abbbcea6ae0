import { bitsOf, type Cidr, networkOf, parseCidr } from "../cni/address.ts";
import { statOf } from "../host/file.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { TakenSubnet } from "./taken_subnet.ts";

/**
 * Returns the networks that the addresses and the routes of this host lead to, except default routes, and what only one link
 * or this host knows.
 *
 * Permissions: `--allow-run=ip` or the whole `--allow-ffi`.
 */
export async function subnetsOfHost(
  kernel: Kernel,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly TakenSubnet[]> {
  const hasIpv6 = await statOf("/proc/sys/net/ipv6") !== undefined;
  const questions = [
    { kind: "show-links", addresses: true },
    { kind: "show-routes", family: 4 },
    ...(hasIpv6 ? [{ kind: "show-routes", family: 6 } as const] : []),
  ] as const;
  const [links, ...routes] = await kernel.apply(questions, { signal });
  const addresses = links.flatMap(({ name, addresses }) =>
    addresses.flatMap(({ address }): TakenSubnet[] => {
      const cidr = parseCidr(address);
      return cidr === undefined
        ? []
        : [{ subnet: alone(cidr), by: `the address ${address} of ${name}`, device: name }];
    })
  );
  const routed = routes.flat().filter(({ isMain }) => isMain).flatMap(({ dst, hops }): TakenSubnet[] => {
    if (dst === undefined) return [];
    const devices = [...new Set(hops.map(({ device }) => device))];
    const by = devices.length === 0
      ? "a route that leads nowhere"
      : `the route through ${devices.join(", ")}`;
    return [{ subnet: networkOf(dst), by, device: devices[0] ?? "" }];
  });
  return [...addresses, ...routed].filter(({ subnet }) => concernsOthers(subnet));
}

/** The network of an address alone: the one that it is in has a route. */
function alone({ ip }: Cidr): Cidr {
  return { ip, prefix: bitsOf(ip) };
}

/** Whether packets to the network leave the link, and the host. */
function concernsOthers({ ip, prefix }: Cidr): boolean {
  if (prefix === 0) return false;
  if (ip.family === 4) {
    const first = Number(ip.value >> 24n);
    const isLinkLocal = ip.value >> 16n === 0xa9fen;
    return first !== 127 && first < 224 && !isLinkLocal;
  }
  const isLinkLocal = ip.value >> 118n === 0xfe80n >> 6n;
  const isMulticast = ip.value >> 120n === 0xffn;
  return ip.value !== 1n && !isLinkLocal && !isMulticast;
}
