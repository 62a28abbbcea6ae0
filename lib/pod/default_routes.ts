import { parseIp } from "../cni/address.ts";
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
import { restoreRoutes, type RoutesPlace } from "../attachment/displaced_routes.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { AddRoute, NextHop, RemoveRoute } from "../kernel/operation.ts";
import type { DisplacedRoutes } from "../state/displaced_routes.ts";
import { displacedFor, displacingChanges, foreignDefaults, type ForeignRoute } from "./foreign_routes.ts";
import {
  type AttachedNetwork,
  defaultsAfter,
  EVERYTHING,
  hopsOf,
  type KernelRoute,
  putBack,
  removalOf,
  textOf,
  UNDO_MS,
} from "./kernel_defaults.ts";
import { normalIp } from "./request.ts";

export type { AttachedNetwork } from "./kernel_defaults.ts";

/** Options of {@linkcode settleDefaultRoutes}. */
export interface DefaultRoutesOptions extends RoutesPlace {
  /**
   * Called for each network that respects routes that are not podwire's, with what it is about to change among them, so that it is on
   * record. @default {none are changed}
   */
  readonly onDisplace?: ((network: AttachedNetwork, displaced: DisplacedRoutes) => Promise<void>) | undefined;
}

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
  const foreign = await foreignDefaults(attached, options);
  const possible = choicesOf(attached, [], foreign);
  requireGateways(attached, possible);
  const families = FAMILIES.filter((family) =>
    possible.some((choice) => choice.family === family) || foreign.some((route) => route.family === family)
  );
  if (families.length === 0) return { results: attached.map(({ result }) => result), undo: async () => {} };
  const routes = await defaultsAfter([], families, options);
  const choices = choicesOf(attached, routes, foreign);
  const yielded = yieldingTo(foreign, choices, attached, routes);
  const displaced = await displacedFor(choices, foreign, options);
  const changes = displacingChanges(displaced, [
    ...choices.flatMap((choice) => changesFor(choice, attached, routes)),
    ...yielded.flatMap(({ family, network }) => removalsIn(network, family, routes)),
  ]);
  const undo = async () => {
    if (changes.length === 0) return;
    await putBack(attached, families, { ...options, before: routes });
    const place = { ...options, signal: AbortSignal.timeout(UNDO_MS) };
    for (const { routes } of displaced) await restoreRoutes(routes, place);
  };
  for (const network of attached.filter(({ foreignRoutes }) => foreignRoutes !== undefined)) {
    const { routes = { removed: [], added: [] } } = displaced.find((one) => one.network === network) ?? {};
    await options.onDisplace?.(network, routes);
  }
  if (changes.length > 0) {
    try {
      await change(changes, { choices, attached, families }, options);
    } catch (error) {
      throw await undoing(asCniError(error), [undo]);
    }
  }
  const results = attached.map((network) => {
    const lost = yielded.filter((one) => one.network === network);
    // It may yield in one family, and be chosen or lose in the other.
    const settled = resultOf(network, choices, attached, routes);
    return lost.reduce((json, { family }) => withDefaultRoute(json, family), settled);
  });
  return { results, undo };
}

/** A network whose default route of a family yields to one that is not podwire's. */
interface Yielding {
  readonly family: Family;
  readonly network: AttachedNetwork;
}

function yieldingTo(
  foreign: readonly ForeignRoute[],
  choices: readonly Choice[],
  attached: readonly AttachedNetwork[],
  routes: readonly KernelRoute[],
): readonly Yielding[] {
  const families = FAMILIES.filter((family) =>
    foreign.some((route) => route.family === family) && !choices.some((choice) => choice.family === family)
  );
  return families.flatMap((family) =>
    attached.filter((network) =>
      network.foreignRoutes !== undefined && !keepsOwn(network) && hasDefaultRoute(network, family, routes)
    ).map((network) => ({ family, network }))
  );
}

/** Whether the request leaves a network the default routes that its plugins make, beside all others. */
function keepsOwn({ defaultRoute }: AttachedNetwork): boolean {
  return defaultRoute !== undefined && defaultRoute !== true && defaultRoute.length === 0;
}

/** Returns what removes the default routes of a network. */
function removalsIn(
  network: AttachedNetwork,
  family: Family,
  routes: readonly KernelRoute[],
): readonly RemoveRoute[] {
  const mains = routes.filter((route) => route.family === family && route.isMain);
  return mains.flatMap((route) => removalOf(route, hopsOf(network, route)));
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
  const foreign = await foreignDefaults(attached, options);
  const wrong = choices.find((choice) =>
    changesFor(choice, attached, now).length > 0 ||
    (choice.chosen.foreignRoutes !== undefined && foreign.some(({ family }) => family === choice.family))
  );
  if (wrong !== undefined) throw notSettled([wrong], "the kernel does not show it alone afterwards");
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

function choicesOf(
  attached: readonly AttachedNetwork[],
  routes: readonly KernelRoute[],
  foreign: readonly ForeignRoute[],
): readonly Choice[] {
  return FAMILIES.flatMap((family) => {
    const requested = requestedChoice(family, attached);
    if (requested !== undefined) return [requested];
    if (foreign.some((route) => route.family === family)) return [];
    return firstChoice(family, attached, routes) ?? [];
  });
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
  const [chosen, ...others] = attached.filter((network) =>
    !keepsOwn(network) && hasDefaultRoute(network, family, routes)
  );
  return chosen === undefined || others.length === 0 ? undefined : { family, chosen, gateway: undefined };
}

function requireGateways(attached: readonly AttachedNetwork[], wanted: readonly Choice[]): void {
  for (const network of attached) {
    const { name, defaultRoute } = network;
    if (defaultRoute === undefined || keepsOwn(network) || wanted.some(({ chosen }) => chosen === network)) {
      continue;
    }
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
  return attached.filter((network) =>
    network !== chosen && !keepsOwn(network) && hasDefaultRoute(network, family, routes)
  );
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
    ...rivalsOf(choice, attached, routes).flatMap((rival) => removalsIn(rival, family, routes)),
    ...own.flatMap((route) => removalOf(route, hopsOf(chosen, route).filter((hop) => !isKept(route, hop)))),
  ];
  const isThere = own.some((route) => hopsOf(chosen, route).some((hop) => isKept(route, hop)));
  return isThere ? removed : [...removed, additionOf(choice)];
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

function notSettled([choice]: readonly Choice[], why: string): CniError {
  const { family = 4, chosen } = choice ?? {};
  return new CniError("io", `the default route for IPv${family} could not be made: ${why}`, {
    verb: "ADD",
    network: chosen?.name,
  });
}
