import type { CallOptions } from "../async/call_options.ts";
import type { CatalogSource } from "../catalog/source.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import { EnginePods, type WhenNoNetwork } from "../sandbox/engine_pods.ts";
import { validateName } from "../sandbox/validate_name.ts";
import { formatOwner } from "../state/owner.ts";
import { type BackgroundOptions, startBackground } from "./background.ts";
import { collectGarbage, LiveOperations } from "./operations.ts";
import type { RuntimeOptions } from "./options.ts";
import { wire } from "./wiring.ts";

/** How pods are opened. With `defaultNetwork` the default network is fixed, else it may change. */
export interface PodsOptions extends Omit<RuntimeOptions, "embedded" | "embeddedOnly">, BackgroundOptions {
  /**
   * What happens to a pod that names no network while there is none: with `noop` it gets `lo` only. @default {"error"}
   */
  readonly whenNoNetwork?: WhenNoNetwork | undefined;
  /** Name of the engine; it separates its pods from those of other engines. @default {"pods"} */
  readonly owner?: string | undefined;
  /** Returns the container IDs of the pods that exist, for garbage collection. @default {all that are on record} */
  readonly validPods?: (() => readonly string[] | Promise<readonly string[]>) | undefined;
}

/** What {@linkcode Pods.gc} removes. */
export interface PodsGcRequest {
  /**
   * The container IDs of the pods that exist. A function is called after the records were read, so that it cannot miss a pod
   * that is set up meanwhile; a list should be no older than the call.
   * @default {what the option with this name returns}
   */
  readonly validPods?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>) | undefined;
  /** Only this network, by its name. @default {all networks} */
  readonly network?: string | undefined;
  /** Runs no plugin and changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
}

/** What pods work with while they are open. */
export interface PodsContext {
  readonly engine: EnginePods;
  readonly source: CatalogSource;
  readonly operations: LiveOperations;
  /** Returns a request as the garbage collector takes it. */
  readonly gcRequest: (request: PodsGcRequest) => GcRequest;
}

/** Reads the configuration for the first time, and starts the background tasks. */
export async function openPods(options: PodsOptions, { signal }: CallOptions): Promise<PodsContext> {
  const { whenNoNetwork = "error", owner = "pods", defaultNetwork } = options;
  // It becomes a part of records.
  validateName("owner", owner);
  const context = wire(options, { embedded: false });
  await context.format.requireKnown();
  const gcRequest = ({ validPods = options.validPods, ...request }: PodsGcRequest): GcRequest =>
    validPods === undefined ? request : { ...request, pods: { owner, containerIds: validPods } };
  const gc = async (source: CatalogSource, signal: AbortSignal): Promise<GcReport> => {
    const request = { ...gcRequest({}), skipHung: true };
    return await collectGarbage(context, await source.current(signal), request, { signal });
  };
  const background = await startBackground(context, options, { defaultNetwork, gc }, { signal });
  const { source } = background;
  const engine = new EnginePods({
    ...context.sandboxContext,
    creator: context.creator,
    store: context.store,
    recovery: context.recovery,
    source,
    owner: formatOwner({ kind: "pods", engine: owner }),
    whenNoNetwork,
  });
  return { engine, source, operations: new LiveOperations(context, background), gcRequest };
}
