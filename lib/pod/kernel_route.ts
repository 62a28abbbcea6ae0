import { formatIp, parseIp } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";

/** Where a route leads next. */
export interface NextHop {
  readonly device: string;
  /** In its canonical form; undefined for the link itself. */
  readonly gateway: string | undefined;
  /** The arguments of `ip` for it. */
  readonly words: string;
}

/** A route as the kernel shows it. */
export interface KernelRoute {
  readonly family: Family;
  /** Whether it is in the table that the kernel uses unless a rule names another one. */
  readonly isMain: boolean;
  readonly metric: number | undefined;
  /** If there are several, they share the traffic. */
  readonly hops: readonly NextHop[];
}

/** A route as `ip -j` prints it, with the members that matter here. */
interface IpRoute {
  readonly type?: string;
  readonly protocol?: string;
  readonly table?: string;
  readonly metric?: number;
  readonly nexthops?: readonly IpHop[];
}

interface IpHop {
  readonly dev?: string;
  readonly gateway?: string;
  /** A next hop of the other family. */
  readonly via?: { readonly family: string; readonly host: string };
  readonly weight?: number;
}

/**
 * Returns the routes that lead somewhere, out of the lists that `ip` printed, one list for each family. Leaves out the
 * routes that the kernel took from the advertisement of a router: they come back by themselves.
 */
export function parseKernelRoutes(
  families: readonly Family[],
  lists: readonly (readonly unknown[])[],
): readonly KernelRoute[] {
  return families.flatMap((family, index) =>
    (lists[index] ?? []).flatMap((route) => routeOf(family, route as IpRoute & IpHop))
  );
}

function routeOf(family: Family, route: IpRoute & IpHop): readonly KernelRoute[] {
  const { type = "unicast", protocol, table = "main", metric, nexthops } = route;
  if (type !== "unicast" || protocol === "ra") return [];
  const isShared = nexthops !== undefined;
  const hops = (nexthops ?? [route]).flatMap((hop) => hopOf(hop, family === 4 && isShared));
  return hops.length === 0 ? [] : [{ family, isMain: table === "main", metric, hops }];
}

function hopOf({ dev, gateway, via, weight }: IpHop, withWeight: boolean): readonly NextHop[] {
  if (dev === undefined) return [];
  const next = via === undefined ? gateway : `${via.family} ${via.host}`;
  const words = [
    ...(next === undefined ? [] : [`via ${next}`]),
    `dev ${dev}`,
    ...(withWeight && weight !== undefined ? [`weight ${weight}`] : []),
  ];
  const ip = parseIp(gateway ?? via?.host ?? "");
  return [{ device: dev, gateway: ip && formatIp(ip), words: words.join(" ") }];
}
