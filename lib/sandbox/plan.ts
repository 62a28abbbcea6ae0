import { type PlannedCall, plannedCalls } from "../attachment/planned_calls.ts";
import { negotiate } from "../attachment/version_negotiation.ts";
import type { CallOptions } from "../async/call_options.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import type { SandboxCreator } from "./create.ts";
import type { SandboxRequest } from "./request.ts";

/** What a run would do. */
export interface SandboxPlan {
  /** Its ID, which is the container ID that plugins get. */
  readonly id: string;
  /** Its name. */
  readonly name: string;
  /** The namespace of its name. */
  readonly namespace: string;
  /** The path of its network namespace. */
  readonly netns: string;
  /** Whether the namespace would be made. */
  readonly isNew: boolean;
  /** The plugins, in the order in which they would run. */
  readonly calls: readonly PlannedCall[];
  /** Ports of the container whose ports of the host are chosen by the run. */
  readonly automaticPorts: readonly { readonly containerPort: number; readonly protocol: string }[];
}

/** What {@linkcode planSandbox} works with. */
export interface PlanContext {
  readonly creator: Pick<SandboxCreator, "checkPermissions" | "prepare">;
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
  readonly readOnlyCatalog: (signal?: AbortSignal) => Promise<Catalog>;
}

/**
 * Returns what a run would do: all is looked up and validated as in a run, and nothing is made. Plugins are asked for their
 * versions only where a run would ask them.
 *
 * @throws {CniError} as a run, as far as it is known before anything is made
 */
export async function planSandbox(
  request: SandboxRequest,
  { creator, runner, probe, readOnlyCatalog }: PlanContext,
  { signal }: CallOptions = {},
): Promise<SandboxPlan> {
  creator.checkPermissions(request);
  const { record, pod, plan } = await creator.prepare(request, await readOnlyCatalog(signal), { signal });
  const { id, name, namespace } = record;
  const { netns } = pod;
  const calls: PlannedCall[] = [];
  for (const { list, ifName, args, capabilityArgs } of plan) {
    const target = { containerId: id, netns, ifName, args, capabilityArgs };
    calls.push(...await plannedCalls(runner, await negotiate(list, probe, signal), target));
  }
  const automaticPorts = plan.flatMap((planned) =>
    planned.automaticPorts.map(({ containerPort, protocol }) => ({ containerPort, protocol }))
  );
  const isNew = (request.source?.kind ?? "new") === "new";
  return { id, name, namespace, netns, isNew, calls, automaticPorts };
}
