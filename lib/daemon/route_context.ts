import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import type { LiveRuntime } from "../runtime/live.ts";
import type { RunOptions, SandboxRequest } from "../sandbox/request.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { DaemonEvents } from "./daemon_events.ts";
import type { QueryMember, RouteRequest } from "./route.ts";

/** What the routes work with. */
export interface RouteContext {
  readonly runtime:
    & Pick<LiveRuntime, "networks" | "status" | "attachments" | "forget" | "gc" | "recover">
    & Pick<LiveRuntime, "createNetwork" | "removeNetwork" | "setNetwork" | "inspectNetwork">
    & {
      readonly sandboxes: Pick<
        Sandboxes,
        "list" | "get" | "stop" | "remove" | "repair" | "connect" | "disconnect" | "check" | "traffic"
      >;
    };
  /**
   * Makes a sandbox or hands out a warm one. If there is one with the same UID and attempt, returns that and calls
   * `onSame`.
   */
  readonly run: (request: SandboxRequest, options: RunOptions) => Promise<Sandbox>;
  readonly events: Pick<DaemonEvents, "subscribe">;
  /** Returns the metrics in the text format of Prometheus. */
  readonly metrics: () => Promise<string>;
  /** Returns why the daemon cannot do its work; undefined if it can. */
  readonly problem: () => string | undefined;
  readonly log: Pick<Logger, "warn">;
}

/** The member of the query that names the namespace of a sandbox. */
export const NAMESPACE: QueryMember = {
  name: "namespace",
  description: "the namespace of the name (default: default)",
};

/** Values of a member of the query that is true or false. */
export const BOOLEANS: readonly string[] = ["true", "false"];

/** Returns what stands in the path for `{id}`, or for another name. */
export function idOf({ params }: RouteRequest<unknown>, name = "id"): string {
  const value = params[name];
  if (value === undefined) throw new CniError("internal", `the route has no ${name}`);
  return value;
}

/** Returns where a sandbox is looked for. */
export function placeOf(
  { query: { namespace }, signal }: RouteRequest<unknown>,
): { readonly namespace: string | undefined; readonly signal: AbortSignal } {
  return { signal, namespace };
}
