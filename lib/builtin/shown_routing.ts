import { kernelFor } from "../kernel/choose_kernel.ts";
import type { RouteInfo, RuleInfo } from "../kernel/operation.ts";
import type { PluginRequest } from "../plugin/serve.ts";

/** The routes and rules of a namespace, of both families. */
export interface ShownRouting {
  readonly routes: readonly RouteInfo[];
  readonly rules: readonly RuleInfo[];
}

/** Shows the routes of all tables, with their numbers, and the rules. */
export async function showRouting(
  { netns, run, signal }: Pick<PluginRequest, "netns" | "run" | "signal">,
): Promise<ShownRouting> {
  const [routes4, routes6, rules4, rules6] = await kernelFor(run).apply([
    { kind: "show-routes", family: 4 },
    { kind: "show-routes", family: 6 },
    { kind: "show-rules", family: 4 },
    { kind: "show-rules", family: 6 },
  ], { netns, signal });
  return { routes: [...routes4, ...routes6], rules: [...rules4, ...rules6] };
}
