import { formatIp, parseIp } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";

/** Where a route leads next. */
export interface NextHop {
  readonly device: string;
  /** In its one canonical form; undefined for the link itself. */
  readonly gateway: string | undefined;
  /** As `ip` is told of it. */
  readonly words: string;
}

/** A route as the kernel shows it. */
export interface KernelRoute {
  readonly family: Family;
  /** Whether it is in the table that is asked when no rule says otherwise. */
  readonly isMain: boolean;
  readonly metric: number | undefined;
  /** More than one share the traffic. */
  readonly hops: readonly NextHop[];
}

/** What `ip -j` shows, as far as it matters here. */
interface Shown {
  readonly type?: string;
  readonly protocol?: string;
  readonly table?: string;
  readonly metric?: number;
  readonly nexthops?: readonly ShownHop[];
}

interface ShownHop {
  readonly dev?: string;
  readonly gateway?: string;
  /** A next hop of the other family. */
  readonly via?: { readonly family: string; readonly host: string };
  readonly weight?: number;
}

/**
 * The routes that lead somewhere, out of the lists that `ip` printed, one for each of the families. Those that the kernel
 * took from a router's advertisement come back by themselves and are left out.
 */
export function parseKernelRoutes(
  families: readonly Family[],
  lists: readonly (readonly unknown[])[],
): readonly KernelRoute[] {
  return families.flatMap((family, index) =>
    (lists[index] ?? []).flatMap((route) => routeOf(family, route as Shown & ShownHop))
  );
}

function routeOf(family: Family, route: Shown & ShownHop): readonly KernelRoute[] {
  const { type = "unicast", protocol, table = "main", metric, nexthops } = route;
  if (type !== "unicast" || protocol === "ra") return [];
  const isShared = nexthops !== undefined;
  const hops = (nexthops ?? [route]).flatMap((hop) => hopOf(hop, family === 4 && isShared));
  return hops.length === 0 ? [] : [{ family, isMain: table === "main", metric, hops }];
}

function hopOf({ dev, gateway, via, weight }: ShownHop, withWeight: boolean): readonly NextHop[] {
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
