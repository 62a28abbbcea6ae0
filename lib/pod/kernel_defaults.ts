import { type Cidr, formatIp } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import type { RoutesPlace } from "../attachment/displaced_routes.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { AddRoute, NextHop, RemoveRoute, RouteInfo, ShowRoutes } from "../kernel/operation.ts";
import { copyOf } from "../kernel/route_copy.ts";
import type { WantedNetwork } from "./request.ts";

/** An attachment of a pod, with its result. */
export interface AttachedNetwork {
  /** The name of the network. */
  readonly name: string;
  /** The interface inside the pod. */
  readonly ifName: string;
  /** What was asked for. @default {nothing} */
  readonly defaultRoute?: WantedNetwork["defaultRoute"];
  /** How it respects default routes that are not podwire's. @default {it does not look at them} */
  readonly foreignRoutes?: WantedNetwork["foreignRoutes"];
  readonly result: JsonObject;
}

/** A default route that leads somewhere, and does not come from a router. */
export interface KernelRoute extends RouteInfo {
  readonly family: Family;
}

/** Time for an undo. */
export const UNDO_MS = 10_000;

/** Leaves the interfaces of these attachments the default routes that they had before. */
export async function putBack(
  attached: readonly AttachedNetwork[],
  families: readonly Family[],
  { before, run, netns }: RoutesPlace & { readonly before: readonly KernelRoute[] },
): Promise<void> {
  // That of the caller may be over.
  const options = { run, netns, signal: AbortSignal.timeout(UNDO_MS) };
  const now = await defaultsAfter([], families, options);
  const own = (routes: readonly KernelRoute[]) =>
    routes.flatMap(separate).filter((route) =>
      route.isMain && attached.some((one) => hopsOf(one, route).length > 0)
    );
  const missingIn = (there: readonly KernelRoute[], wanted: readonly KernelRoute[]) => {
    const known = new Set(there.map(keyOf));
    return wanted.filter((route) => !known.has(keyOf(route)));
  };
  const removed = missingIn(own(before), own(now)).map(({ family, metric, hops }) => {
    return { kind: "remove-route", dst: EVERYTHING[family], metric, hops } as const;
  });
  // The kernel puts each before the ones with the same metric.
  const added = missingIn(own(now), own(before)).reverse().flatMap((route) =>
    route.hops.map((hop) => ({
      ...copyOf({ ...route, dst: EVERYTHING[route.family], hops: [hop] }),
      // Another one of the same metric, which is not of these attachments, stays.
      replace: false,
    }))
  );
  if (removed.length + added.length > 0) await defaultsAfter([...removed, ...added], families, options);
}

/** In IPv6 each hop of a route is a route of its own. */
function separate(route: KernelRoute): readonly KernelRoute[] {
  return route.family === 4 ? [route] : route.hops.map((hop) => ({ ...route, hops: [hop] }));
}

function keyOf({ family, metric, hops }: KernelRoute): string {
  return [family, metric ?? "", ...hops.map((hop) => `${hop.device} ${textOf(hop) ?? ""}`)].join(" ");
}

/** Returns the interfaces of the attachment inside the pod. */
export function devicesOf({ ifName, result }: AttachedNetwork): readonly string[] {
  const inPod = (asResult(result).interfaces ?? []).filter(({ sandbox }) => sandbox);
  return [ifName, ...inPod.map(({ name }) => name)];
}

/** Returns the hops of a route that lead through interfaces of the attachment. */
export function hopsOf(network: AttachedNetwork, { hops }: KernelRoute): readonly NextHop[] {
  const devices = devicesOf(network);
  return hops.filter(({ device }) => devices.includes(device));
}

/** In IPv6 each hop of a route can be removed on its own; in IPv4 only the whole route can. */
export function removalOf(
  { family, metric, hops }: KernelRoute,
  gone: readonly NextHop[],
): readonly RemoveRoute[] {
  const removal = (hops: readonly NextHop[]) =>
    ({ kind: "remove-route", dst: EVERYTHING[family], metric, hops }) as const;
  if (gone.length === 0) return [];
  if (family === 6 || hops.length === 1) return gone.map((hop) => removal([hop]));
  return gone.length < hops.length ? [] : [removal(gone)];
}

/** The destination of the default routes. */
export const EVERYTHING: Readonly<Record<Family, Cidr>> = {
  4: { ip: { family: 4, value: 0n }, prefix: 0 },
  6: { ip: { family: 6, value: 0n }, prefix: 0 },
};

/** The gateway of a hop as text. */
export function textOf({ gateway }: NextHop): string | undefined {
  return gateway && formatIp(gateway);
}

/** Makes changes, and returns the default routes that the pod has then. */
export async function defaultsAfter(
  changes: readonly (AddRoute | RemoveRoute)[],
  families: readonly Family[],
  { run, netns, signal }: RoutesPlace,
): Promise<readonly KernelRoute[]> {
  const questions = families.map((family): ShowRoutes => ({ kind: "show-routes", family, defaults: true }));
  const answers = await kernelFor(run).apply([...changes, ...questions], { netns, signal });
  return families.flatMap((family, index) =>
    (answers[changes.length + index] ?? [])
      .filter(({ isUnicast, isAdvertised, hops }) => isUnicast && !isAdvertised && hops.length > 0)
      .map((route) => ({ ...route, family }))
  );
}
