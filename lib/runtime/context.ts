import type { CallOptions } from "../async/call_options.ts";
import type { Attachments } from "../attachment/attachments.ts";
import type { ForgetReport, ForgetRequest } from "../attachment/forget.ts";
import type { RuleRepair } from "../attachment/rule_repair.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogSource } from "../catalog/source.ts";
import type { GarbageCollector } from "../gc/collector.ts";
import type { NetworksContext } from "../network/networks.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { Instrumentation } from "../plugin/instrumentation.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import type { ReadinessMemory } from "../readiness/memory.ts";
import type { ProbeNetwork } from "../readiness/status_check.ts";
import type { SandboxContext } from "../sandbox/context.ts";
import type { SandboxCreator } from "../sandbox/create.ts";
import type { Recovery } from "../sandbox/recovery.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import type { Locks } from "../state/locks.ts";
import type { ResultCache } from "../state/result_cache.ts";
import type { StateFormat } from "../state/state_format.ts";

/** The sources of the catalog of a configuration directory. */
export interface CatalogContext {
  /** Reads the directory each time that the catalog is wanted. */
  readonly catalogSource: CatalogSource;
  /** Returns the catalog of that source, for operations that attach: new files are remembered. */
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
  /** Returns the catalog for operations that only read: nothing is written. */
  readonly readOnlyCatalog: (signal?: AbortSignal) => Promise<Catalog>;
  /** Watches the directory until the source is disposed of. */
  readonly watchCatalog: (options?: WatchCatalogOptions) => Promise<CatalogSource>;
}

/** Options of {@linkcode CatalogContext.watchCatalog}. */
export interface WatchCatalogOptions extends CallOptions {
  /** Milliseconds between two readings of the directory without an event. @default {10_000} */
  readonly pollMs?: number | undefined;
}

/** What the operations on attachments work with. */
export interface AttachContext extends Pick<CatalogContext, "catalog" | "readOnlyCatalog"> {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly locks: Locks;
  /** Guards the layout of the state directory. */
  readonly format: StateFormat;
  /** Recovers from a crash or a reboot, before anything new is attached. The caller holds no lock. */
  readonly beforeFirstAdd: (signal?: AbortSignal) => Promise<void>;
}

/** Everything that the operations of a runtime work with. The composition root makes it. */
export interface RuntimeContext extends CatalogContext, AttachContext {
  readonly sandboxes: Sandboxes;
  /** Dependencies of what works on sandboxes, and on the pods of container engines. */
  readonly sandboxContext: SandboxContext;
  readonly creator: SandboxCreator;
  readonly recovery: Recovery;
  readonly garbage: GarbageCollector;
  /** Deletes the records of attachments that cannot be detached. */
  readonly forget: (request: ForgetRequest, options: CallOptions) => Promise<ForgetReport>;
  readonly failed: FailedIndex;
  /** Finds lost rules, and puts them back. */
  readonly rules: RuleRepair;
  readonly probe: VersionProbe;
  /** Asks the plugins of a network whether it is ready. */
  readonly probeNetwork: ProbeNetwork;
  /** Remembers since when networks are ready or not. */
  readonly readinessMemory: ReadinessMemory;
  readonly instrumentation: Instrumentation;
  readonly runner: PluginRunner;
  /** What creates, shows and removes networks works with. */
  readonly networks: NetworksContext;
}
