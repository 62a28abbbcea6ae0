import type { RouteInfo } from "./operation.ts";

/** Returns the route that the kernel prefers, of default routes through interfaces; the first one of equal ones. */
export function preferredRoute(routes: readonly RouteInfo[]): RouteInfo | undefined {
  return routes.filter(({ isMain, isUnicast, hops }) => isMain && isUnicast && hops.length > 0)
    .toSorted((one, other) => (one.metric ?? 0) - (other.metric ?? 0))[0];
}
