import { type Cidr, formatCidr, formatIp, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { FAMILIES, type Family } from "../cni/default_route.ts";
import { CniError } from "../cni/error.ts";
import type { RunCommand } from "../host/command.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { AddRoute, NextHop, RemoveRoute, RouteInfo, ShowRoutes } from "../kernel/operation.ts";
import type { DisplacedRoutes, RecordedRoute } from "../state/displaced_routes.ts";

// Routes of a namespace that are not podwire's: they make room for the default route of an attachment, and come back.

/** The namespace, and how to reach it. */
export interface RoutesPlace {
  /** The path of the namespace. */
  readonly netns: string;
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
}

/** Returns a route as a record keeps it. */
export function recordedRoute(route: RouteInfo, dst: Cidr, hop: NextHop): RecordedRoute {
  const { metric, protocol, scope, source, mtu, advmss } = route;
  return {
    device: hop.device,
    dst: formatCidr(dst),
    ...(hop.gateway === undefined ? {} : { gateway: formatIp(hop.gateway) }),
    ...(metric === undefined ? {} : { metric }),
    ...(protocol === undefined ? {} : { protocol }),
    // IPv6 has none.
    ...(scope === undefined || dst.ip.family === 6 ? {} : { scope }),
    ...(source === undefined ? {} : { source: formatIp(source) }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
  };
}

/** Returns what adds a recorded route to the main table, beside others. */
export function additionOf(route: RecordedRoute): AddRoute {
  const { device, gateway, source, ...rest } = route;
  return {
    kind: "add-route",
    ...rest,
    device,
    dst: cidrOf(route),
    gateway: ipOf(gateway),
    source: ipOf(source),
  };
}

/** Returns what removes a recorded route. */
export function removalOf(route: RecordedRoute): RemoveRoute {
  const { device, metric } = route;
  return {
    kind: "remove-route",
    dst: cidrOf(route),
    metric,
    hops: [{ device, gateway: ipOf(route.gateway) }],
  };
}

/** Whether a route of the main table is the one on record. */
export function isRecorded(route: RecordedRoute, shown: RouteInfo): boolean {
  const { dst, isMain, isUnicast, hops, metric } = shown;
  if (!isMain || !isUnicast || dst === undefined || formatCidr(dst) !== route.dst) return false;
  const isHop = hops.some(({ device, gateway }) =>
    device === route.device && (gateway && formatIp(gateway)) === route.gateway
  );
  // Without its metric on record, the kernel chose it.
  return isHop && (route.metric === undefined || route.metric === metric);
}

/**
 * Changes routes back that an attachment changed: removes what it added and adds what it removed, except where that is so already.
 * A route of an interface that is gone cannot come back.
 *
 * Requires root, and `--allow-run=nsenter,ip` or the whole `--allow-ffi`.
 *
 * @throws {CniError} kind `io`, naming a route that the kernel refuses
 */
export async function restoreRoutes({ removed, added }: DisplacedRoutes, place: RoutesPlace): Promise<void> {
  const { netns, run, signal } = place;
  const devices = new Set([...removed, ...added].map(({ device }) => device));
  if (devices.size === 0) return;
  const kernel = kernelFor(run);
  for (const device of [...devices]) {
    if (await findLink(kernel, device, { netns, signal }) === undefined) devices.delete(device);
  }
  const there = await mainRoutes(place);
  const isThere = (route: RecordedRoute) => there.some((shown) => isRecorded(route, shown));
  const back = removed.filter((route) => devices.has(route.device) && !isThere(route));
  const gone = added.filter((route) => devices.has(route.device) && isThere(route));
  try {
    // The kernel puts each before the ones with the same metric.
    const changes = [...back.toReversed().map(additionOf), ...gone.map(removalOf)];
    if (changes.length > 0) await kernel.apply(changes, { netns, signal });
  } catch (error) {
    signal?.throwIfAborted();
    const routes = back.map(({ dst, gateway, device }) => `${dst} via ${gateway ?? device}`).join(", ");
    const why = error instanceof Error ? error.message : String(error);
    throw new CniError("io", `the routes that were there before could not be put back (${routes}): ${why}`, {
      cause: error,
    });
  }
}

/** Returns the routes of both families in the main table. */
export async function mainRoutes({ netns, run, signal }: RoutesPlace): Promise<readonly RouteInfo[]> {
  const questions = FAMILIES.map((family: Family): ShowRoutes => ({ kind: "show-routes", family }));
  const answers = await kernelFor(run).apply(questions, { netns, signal });
  return answers.flat().filter(({ isMain }) => isMain);
}

function cidrOf({ dst }: RecordedRoute): Cidr {
  const cidr = parseCidr(dst);
  if (cidr === undefined) throw new CniError("internal", `"${dst}" on record is not a subnet`);
  return cidr;
}

function ipOf(text: string | undefined): Ip | undefined {
  return text === undefined ? undefined : parseIp(text);
}
