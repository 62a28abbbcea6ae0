import { type Cidr, formatCidr, parseCidr } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import { CniError } from "../cni/error.ts";
import {
  additionOf,
  mainRoutes,
  recordedRoute,
  removalOf,
  type RoutesPlace,
} from "../attachment/displaced_routes.ts";
import type { AddRoute, RemoveRoute, RouteInfo } from "../kernel/operation.ts";
import type { DisplacedRoutes } from "../state/displaced_routes.ts";
import { type AttachedNetwork, devicesOf } from "./kernel_defaults.ts";

// Default routes that were in a namespace before podwire attached anything to it.

/** A default route that leads through no interface of podwire's. */
export interface ForeignRoute extends RouteInfo {
  readonly family: Family;
  readonly dst: Cidr;
}

/** What a network changes among them. */
export interface Displacement {
  readonly network: AttachedNetwork;
  readonly routes: DisplacedRoutes;
}

/** Returns the default routes that are not of these networks; none if no network respects any. */
export async function foreignDefaults(
  networks: readonly AttachedNetwork[],
  place: RoutesPlace,
): Promise<readonly ForeignRoute[]> {
  if (networks.every(({ foreignRoutes }) => foreignRoutes === undefined)) return [];
  const own = new Set(networks.flatMap(devicesOf));
  return (await mainRoutes(place)).flatMap((route) => {
    const { dst, isUnicast, hops } = route;
    if (dst?.prefix !== 0 || !isUnicast) return [];
    const others = hops.filter(({ device }) => !own.has(device));
    // In IPv6 the kernel shows routes with one metric as the hops of one.
    return others.length === 0 ? [] : [{ ...route, dst, hops: others, family: dst.ip.family }];
  });
}

/**
 * Returns for each network that respects foreign routes what it changes among them: those of the families that it is chosen for are
 * removed, and traffic to the subnets of `keep` stays where they led.
 *
 * @throws {CniError} kind `conflict`, if a route would come back by itself or could not be put back as it was
 */
export async function displacedFor(
  choices: readonly { readonly family: Family; readonly chosen: AttachedNetwork }[],
  foreign: readonly ForeignRoute[],
  place: RoutesPlace,
): Promise<readonly Displacement[]> {
  const found: Displacement[] = [];
  const there = foreign.length === 0 ? [] : await mainRoutes(place);
  for (const network of new Set(choices.map(({ chosen }) => chosen))) {
    if (network.foreignRoutes === undefined) continue;
    const families = choices.filter(({ chosen }) => chosen === network).map(({ family }) => family);
    const routes = foreign.filter(({ family }) => families.includes(family));
    for (const route of routes) requireReversible(route, network);
    found.push({
      network,
      routes: {
        removed: routes.flatMap((route) => route.hops.map((hop) => recordedRoute(route, route.dst, hop))),
        added: families.flatMap((family) =>
          keptRoutes(family, network.foreignRoutes?.keep ?? [], routes, there)
        ),
      },
    });
  }
  return found;
}

function requireReversible({ family, isAdvertised, hops }: ForeignRoute, { name }: AttachedNetwork): void {
  const refuse = (why: string) =>
    new CniError(
      "conflict",
      `the default route for IPv${family} cannot take the place of the one that is there: ${why}`,
      { verb: "ADD", network: name },
    );
  if (isAdvertised) throw refuse(`a router advertises that of ${hops[0]?.device}, so it would come back`);
  if (family === 4 && hops.length > 1) {
    throw refuse("it has several next hops, which podwire cannot put back");
  }
}

/** Returns the routes that keep traffic to subnets where the first default route of the family leads. */
function keptRoutes(
  family: Family,
  keep: readonly string[],
  foreign: readonly ForeignRoute[],
  there: readonly RouteInfo[],
): DisplacedRoutes["added"] {
  const first = foreign.find((route) => route.family === family);
  const [hop] = first?.hops ?? [];
  if (first === undefined || hop === undefined) return [];
  // They are podwire's, not of the protocol that made the default route.
  const wanted = keep.flatMap((text) => {
    const dst = parseCidr(text);
    return dst?.ip.family === family ? [recordedRoute({ ...first, protocol: undefined }, dst, hop)] : [];
  });
  // A route to the same subnet is of the network of the cluster, which knows better.
  return wanted.filter((route) =>
    !there.some(({ dst }) => dst !== undefined && formatCidr(dst) === route.dst)
  );
}

/** Returns the changes of podwire's own routes, with those around them that make room. */
export function displacingChanges(
  displaced: readonly Displacement[],
  changes: readonly (AddRoute | RemoveRoute)[],
): readonly (AddRoute | RemoveRoute)[] {
  const all = displaced.map(({ routes }) => routes);
  return [
    ...all.flatMap(({ added }) => added.map(additionOf)),
    ...changes,
    ...all.flatMap(({ removed }) => removed.map(removalOf)),
  ];
}
