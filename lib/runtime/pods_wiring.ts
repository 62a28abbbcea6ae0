import type { CallOptions } from "../async/call_options.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import { formatOwner } from "../state/owner.ts";
import type { CatalogSource } from "../catalog/source.ts";
import type { Readiness } from "../readiness/readiness.ts";
import type { RuntimeOptions } from "./options.ts";
import { EnginePods, type WhenNoNetwork } from "../sandbox/engine_pods.ts";
import { validateName } from "../sandbox/validate_name.ts";
import type { Recovery } from "../sandbox/recovery.ts";
import { startBackground } from "./background.ts";
import { collectGarbage, wire } from "./wiring.ts";

/** How pods are opened. With `defaultNetwork` the default network is fixed, else it may change. */
export interface PodsOptions extends Omit<RuntimeOptions, "embedded" | "embeddedOnly"> {
  /** Notices changes of the configuration and plugin directories by itself; without, they are read when asked. @default {true} */
  readonly watch?: boolean | undefined;
  /** Milliseconds between two looks at the directories, and between two questions to the networks. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** What becomes of a pod that names no network while there is none: `noop` gives it `lo` only. @default {"error"} */
  readonly whenNoNetwork?: WhenNoNetwork | undefined;
  /** Tells the pods of one engine from those of another. @default {"pods"} */
  readonly owner?: string | undefined;
  /** For how many milliseconds a network that was ready counts as ready while its plugins say that it is not. @default {30_000} */
  readonly graceMs?: number | undefined;
  /** Milliseconds between two sweeps; 0 for none. @default {0} */
  readonly gcIntervalMs?: number | undefined;
  /** The container IDs of the pods that are still there, for the sweeps. @default {all that are on record} */
  readonly validPods?: (() => readonly string[] | Promise<readonly string[]>) | undefined;
}

/** What a sweep is to do. */
export interface PodsGcRequest extends CallOptions {
  /**
   * The container IDs of the pods that are still there. A function is asked after the records were read, so that no
   * pod can be missing that is set up meanwhile; a list should be no older than the call.
   * @default {what the option of that name gives}
   */
  readonly validPods?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>) | undefined;
  /** Only this network, by its name. @default {all networks} */
  readonly network?: string | undefined;
  /** Runs no plugin and changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
}

/** What a timer asks for, too. */
type TimedGcRequest = PodsGcRequest & Pick<GcRequest, "sparesHung">;

/** What pods consist of while they are open. */
export interface PodsParts extends AsyncDisposable {
  readonly engine: EnginePods;
  readonly source: CatalogSource;
  readonly readiness: Readiness;
  readonly recovery: Recovery;
  readonly store: AttachmentStore;
  readonly failed: FailedIndex;
  readonly gc: (request: PodsGcRequest) => Promise<GcReport>;
}

/** Wires the parts, reads the configuration for the first time, and starts what runs beside the calls. */
export async function openPods(options: PodsOptions, signal?: AbortSignal): Promise<PodsParts> {
  const { whenNoNetwork = "error", owner = "pods" } = options;
  // It stands in records.
  validateName("owner", owner);
  const parts = wire(options, { embedded: false });
  await parts.format.requireKnown();
  const { common, creator, store, recovery } = parts;
  const sweepOnce = async (source: CatalogSource, { validPods, signal, ...request }: TimedGcRequest) => {
    const there = validPods ?? options.validPods;
    const pods = there === undefined ? {} : { pods: { owner, containerIds: there } };
    return await collectGarbage(parts, await source.current(signal), { ...request, ...pods }, { signal });
  };
  const gcAtTimes = (source: CatalogSource, signal: AbortSignal) =>
    sweepOnce(source, { signal, sparesHung: true });
  const upkeep = await startBackground(parts, { ...options, gc: gcAtTimes }, signal);
  const { source, readiness } = upkeep;
  const engine = new EnginePods({
    ...common,
    creator,
    store,
    recovery,
    source,
    owner: formatOwner({ kind: "pods", engine: owner }),
    whenNoNetwork,
  });
  return {
    engine,
    source,
    readiness,
    recovery,
    store,
    failed: parts.failed,
    gc: (request) => sweepOnce(source, request),
    [Symbol.asyncDispose]: () => upkeep[Symbol.asyncDispose](),
  };
}
