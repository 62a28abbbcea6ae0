import type { JsonObject } from "../cni/json.ts";
import { anyNumber, anyText, lenient, listOf, objectOf, type Shape } from "../cni/shape.ts";

/** A route in the main table of a namespace, with all that podwire needs to make it again. */
export interface RecordedRoute {
  /** The interface that it leads through. */
  readonly device: string;
  /** In CIDR notation. */
  readonly dst: string;
  /** The address of the next hop. @default {none: the network is on the link} */
  readonly gateway?: string;
  /** The lower, the earlier the kernel takes it. @default {what the kernel gives to one without} */
  readonly metric?: number;
  /** Who made it, by its number. */
  readonly protocol?: number;
  /** How far it leads, by its number. */
  readonly scope?: number;
  /** The own address that packets get which have none yet. */
  readonly source?: string;
  /** Of the path, in bytes. */
  readonly mtu?: number;
  /** The largest segment that TCP announces, in bytes. */
  readonly advmss?: number;
}

/** What an attachment changed among routes that are not podwire's. Its removal changes them back. */
export interface DisplacedRoutes {
  /** Default routes that were removed, in their order. */
  readonly removed: readonly RecordedRoute[];
  /** Routes that were added where those led. */
  readonly added: readonly RecordedRoute[];
}

const ROUTES: Shape<readonly RecordedRoute[]> = listOf(objectOf({ device: anyText, dst: anyText }, {
  gateway: anyText,
  metric: anyNumber,
  protocol: anyNumber,
  scope: anyNumber,
  source: anyText,
  mtu: anyNumber,
  advmss: anyNumber,
}));

/** {@linkcode DisplacedRoutes} as JSON. A damaged one must not make its record unusable. */
export const DISPLACED_ROUTES: Shape<DisplacedRoutes | undefined> = lenient(
  objectOf({ removed: ROUTES, added: ROUTES }, {}),
);

/** Returns them as JSON. */
export function displacedToJson({ removed, added }: DisplacedRoutes): JsonObject {
  const routes = (list: readonly RecordedRoute[]) => list.map((route): JsonObject => ({ ...route }));
  return { removed: routes(removed), added: routes(added) };
}
