import { type Cidr, formatIp, parseIp } from "../cni/address.ts";
import {
  type DefaultRoute,
  defaultRoutesOf,
  FAMILIES,
  type Family,
  gatewayOf,
  withDefaultRoute,
} from "../cni/default_route.ts";
import { CniError } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import type { RunCommand } from "../host/command.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { copyOf } from "../kernel/route_copy.ts";
import type { AddRoute, NextHop, RemoveRoute, RouteInfo, ShowRoutes } from "../kernel/operation.ts";
import { normalIp, type WantedNetwork } from "./request.ts";

/** An attachment of a pod, with its result. */
export interface AttachedNetwork {
  /** The name of the network. */
  readonly name: string;
  /** The interface inside the pod. */
  readonly ifName: string;
  /** What was asked for. @default {nothing} */
  readonly defaultRoute?: WantedNetwork["defaultRoute"];
  readonly result: JsonObject;
}

/** Options of {@linkcode settleDefaultRoutes}. */
export interface DefaultRoutesOptions {
  /** The path of the pod's namespace. */
  readonly netns: string;
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
}

/** A default route that leads somewhere, and does not come from a router. */
interface KernelRoute extends RouteInfo {
  readonly family: Family;
}

const UNDO_MS = 10_000;

/** The network whose default route of a family the pod gets. */
interface Choice {
  readonly family: Family;
  readonly chosen: AttachedNetwork;
  /** The next hop that the request asks for; undefined for the route that the plugins made. */
  readonly gateway: string | undefined;
}

/** The default routes of a pod as they are now. */
export interface SettledRoutes {
  /** The results of the attachments, in their order. */
  readonly results: readonly JsonObject[];
  /** Puts the routes back as they were before. @throws if the kernel refuses one */
  readonly undo: () => Promise<void>;
}

/**
 * Leaves a pod one default route for each family, if its networks made several: that of the first network, unless the
 * request names another. Linux would prefer the last one in IPv4, and spread the traffic over all of them in IPv6.
 *
 * Only changes routes of interfaces that these attachments made, and never those that routers advertise. After a failure all
 * routes are as they were.
 *
 * Requires root, and `--allow-run=nsenter,ip` or the whole `--allow-ffi`.
 *
 * @throws {CniError} if the requested network has no gateway, or the kernel does not have the route afterwards
 */
export async function settleDefaultRoutes(
  attached: readonly AttachedNetwork[],
  options: DefaultRoutesOptions,
): Promise<SettledRoutes> {
  const possible = choicesOf(attached, []);
  requireGateways(attached, possible);
  if (possible.length === 0) return { results: attached.map(({ result }) => result), undo: async () => {} };
  const families = possible.map(({ family }) => family);
  const routes = await defaultsAfter([], families, options);
  const choices = choicesOf(attached, routes);
  const changes = choices.flatMap((choice) => changesFor(choice, attached, routes));
  const undo = changes.length === 0
    ? async () => {}
    : () => putBack(attached, families, { ...options, before: routes });
  if (changes.length > 0) {
    try {
      await change(changes, { choices, attached, families }, options);
    } catch (error) {
      throw await undoing(asCniError(error), [undo]);
    }
  }
  return { results: attached.map((network) => resultOf(network, choices, attached, routes)), undo };
}

async function change(
  changes: readonly (AddRoute | RemoveRoute)[],
  { choices, attached, families }: {
    readonly choices: readonly Choice[];
    readonly attached: readonly AttachedNetwork[];
    readonly families: readonly Family[];
  },
  options: DefaultRoutesOptions,
): Promise<void> {
  const now = await defaultsAfter(changes, families, options).catch((error: unknown) => {
    options.signal?.throwIfAborted();
    throw notSettled(choices, error instanceof Error ? error.message : String(error));
  });
  const wrong = choices.find((choice) => changesFor(choice, attached, now).length > 0);
  if (wrong !== undefined) throw notSettled([wrong], "the kernel does not show it afterwards");
}

/** Runs the steps of an undo, and returns the error with what could not be undone. */
export async function undoing(
  cause: CniError,
  steps: readonly (() => Promise<unknown>)[],
): Promise<CniError> {
  const failures: string[] = [];
  for (const step of steps) await step().catch((error) => failures.push(asCniError(error).message));
  if (failures.length === 0) return cause;
  return cause.within({ hint: `not everything could be undone: ${failures.join("; ")}` });
}

/** Leaves the interfaces of these attachments the default routes that they had before. */
async function putBack(
  attached: readonly AttachedNetwork[],
  families: readonly Family[],
  { before, run, netns }: DefaultRoutesOptions & { readonly before: readonly KernelRoute[] },
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

function choicesOf(
  attached: readonly AttachedNetwork[],
  routes: readonly KernelRoute[],
): readonly Choice[] {
  return FAMILIES.flatMap((family) =>
    requestedChoice(family, attached) ?? firstChoice(family, attached, routes) ?? []
  );
}

/** Returns the choice that the request names. */
function requestedChoice(family: Family, attached: readonly AttachedNetwork[]): Choice | undefined {
  for (const chosen of attached) {
    const { defaultRoute, result } = chosen;
    if (defaultRoute === undefined) continue;
    const own = defaultRoutesOf(result);
    if (defaultRoute !== true) {
      const gateway = defaultRoute.find((text) => parseIp(text)?.family === family);
      if (gateway !== undefined) return { family, chosen, gateway: normalIp(gateway) };
    } else if (own.some((route) => route.family === family)) {
      return { family, chosen, gateway: undefined };
    } else if (own.length === 0) {
      const gateway = gatewayOf(result, family);
      if (gateway !== undefined) return { family, chosen, gateway };
    }
  }
  return undefined;
}

/** Returns the first network that made a default route, if others did too. */
function firstChoice(
  family: Family,
  attached: readonly AttachedNetwork[],
  routes: readonly KernelRoute[],
): Choice | undefined {
  const [chosen, ...others] = attached.filter((network) => hasDefaultRoute(network, family, routes));
  return chosen === undefined || others.length === 0 ? undefined : { family, chosen, gateway: undefined };
}

function requireGateways(attached: readonly AttachedNetwork[], wanted: readonly Choice[]): void {
  for (const network of attached) {
    const { name, defaultRoute } = network;
    if (defaultRoute === undefined || wanted.some(({ chosen }) => chosen === network)) continue;
    throw new CniError("plugin", "the network gave neither a default route nor a gateway", {
      verb: "ADD",
      network: name,
      hint: "name the gateway, as in default-route=10.1.0.1",
    });
  }
}

function routesInResult(result: JsonObject, family: Family): readonly DefaultRoute[] {
  return defaultRoutesOf(result).filter((route) => route.family === family);
}

/** Returns the other networks that made a default route. */
function rivalsOf(
  { family, chosen }: Choice,
  attached: readonly AttachedNetwork[],
  routes: readonly KernelRoute[],
): readonly AttachedNetwork[] {
  return attached.filter((network) => network !== chosen && hasDefaultRoute(network, family, routes));
}

/** Whether a network has a default route outside a table of its own, which is where `sbr` puts it. */
function hasDefaultRoute(network: AttachedNetwork, family: Family, routes: readonly KernelRoute[]): boolean {
  if (routesInResult(network.result, family).length === 0) return false;
  const own = routes.filter((route) => route.family === family && hopsOf(network, route).length > 0);
  return own.length === 0 || own.some(({ isMain }) => isMain);
}

/** Returns the operations that make the choice true; none if it is true. */
function changesFor(
  choice: Choice,
  attached: readonly AttachedNetwork[],
  routes: readonly KernelRoute[],
): readonly (AddRoute | RemoveRoute)[] {
  const { family, chosen, gateway } = choice;
  const mains = routes.filter((route) => route.family === family && route.isMain);
  const own = mains.filter((route) => hopsOf(chosen, route).length > 0);
  const isKept = ({ hops }: KernelRoute, hop: NextHop) =>
    gateway === undefined || (textOf(hop) === gateway && (family === 6 || hops.length === 1));
  const removed = [
    ...rivalsOf(choice, attached, routes).flatMap((rival) =>
      mains.flatMap((route) => removalOf(route, hopsOf(rival, route)))
    ),
    ...own.flatMap((route) => removalOf(route, hopsOf(chosen, route).filter((hop) => !isKept(route, hop)))),
  ];
  const isThere = own.some((route) => hopsOf(chosen, route).some((hop) => isKept(route, hop)));
  return isThere ? removed : [...removed, additionOf(choice)];
}

/** Returns the hops of a route that lead through interfaces of the attachment. */
function hopsOf({ ifName, result }: AttachedNetwork, { hops }: KernelRoute): readonly NextHop[] {
  const inPod = (asResult(result).interfaces ?? []).filter(({ sandbox }) => sandbox);
  const devices = [ifName, ...inPod.map(({ name }) => name)];
  return hops.filter(({ device }) => devices.includes(device));
}

/** In IPv6 each hop of a route can be removed on its own; in IPv4 only the whole route can. */
function removalOf({ family, metric, hops }: KernelRoute, gone: readonly NextHop[]): readonly RemoveRoute[] {
  const removal = (hops: readonly NextHop[]) =>
    ({ kind: "remove-route", dst: EVERYTHING[family], metric, hops }) as const;
  if (gone.length === 0) return [];
  if (family === 6 || hops.length === 1) return gone.map((hop) => removal([hop]));
  return gone.length < hops.length ? [] : [removal(gone)];
}

function additionOf({ family, chosen: { ifName, result }, gateway }: Choice): AddRoute {
  const via = gateway ?? routesInResult(result, family)[0]?.gateway;
  return {
    kind: "add-route",
    device: ifName,
    dst: EVERYTHING[family],
    gateway: via === undefined ? undefined : parseIp(via),
  };
}

const EVERYTHING: Readonly<Record<Family, Cidr>> = {
  4: { ip: { family: 4, value: 0n }, prefix: 0 },
  6: { ip: { family: 6, value: 0n }, prefix: 0 },
};

function textOf({ gateway }: NextHop): string | undefined {
  return gateway && formatIp(gateway);
}

function resultOf(
  network: AttachedNetwork,
  choices: readonly Choice[],
  attached: readonly AttachedNetwork[],
  routes: readonly KernelRoute[],
): JsonObject {
  let { result } = network;
  for (const choice of choices) {
    const { family, chosen, gateway } = choice;
    if (rivalsOf(choice, attached, routes).includes(network)) result = withDefaultRoute(result, family);
    else if (chosen === network && gateway !== undefined) result = withDefaultRoute(result, family, gateway);
  }
  return result;
}

/** Makes changes, and returns the default routes that the pod has then. */
async function defaultsAfter(
  changes: readonly (AddRoute | RemoveRoute)[],
  families: readonly Family[],
  { run, netns, signal }: DefaultRoutesOptions,
): Promise<readonly KernelRoute[]> {
  const questions = families.map((family): ShowRoutes => ({ kind: "show-routes", family, defaults: true }));
  const answers = await kernelFor(run).apply([...changes, ...questions], { netns, signal });
  return families.flatMap((family, index) =>
    (answers[changes.length + index] ?? [])
      .filter(({ isUnicast, isAdvertised, hops }) => isUnicast && !isAdvertised && hops.length > 0)
      .map((route) => ({ ...route, family }))
  );
}

function notSettled([choice]: readonly Choice[], why: string): CniError {
  const { family = 4, chosen } = choice ?? {};
  return new CniError("io", `the default route for IPv${family} could not be made: ${why}`, {
    verb: "ADD",
    network: chosen?.name,
  });
}
