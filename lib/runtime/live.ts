import type { CallOptions } from "../async/call_options.ts";
import type { Drift, DriftChange } from "../attachment/drifts.ts";
import type { DhcpEvent } from "../dhcp/event.ts";
import { DhcpKeeper, type DhcpKeeperOptions } from "../dhcp/keeper.ts";
import { call } from "../errors/call.ts";
import { driftWarnings } from "../readiness/drift_warning.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import { ContainerWatch } from "../sandbox/container_watch.ts";
import { isDamaged } from "../sandbox/damaged_record.ts";
import { type InfraEnded, InfraWatch } from "../sandbox/infra_watch.ts";
import { isInTransition } from "../sandbox/record.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import { WarmSandboxes } from "../sandbox/warm_sandboxes.ts";
import { type Background, type BackgroundOptions, startBackground } from "./background.ts";
import type { RuntimeContext } from "./context.ts";
import { type DriftOptions, DriftWatch } from "./drift_watch.ts";
import { collectGarbage, LiveOperations, type StatusRequest } from "./operations.ts";
import type { RuntimeOptions } from "./options.ts";
import { wire } from "./wiring.ts";

/** How a {@linkcode LiveRuntime} is opened. */
export interface LiveOptions extends RuntimeOptions, Omit<BackgroundOptions, "watch">, DriftOptions {}

/**
 * A runtime of a process that keeps running: it reads the configuration before the first call, tracks the readiness of the
 * networks, and retries failed removals. It works on the same records as every other process.
 *
 * Permissions: those of {@linkcode Podwire}.
 */
export class LiveRuntime extends LiveOperations {
  readonly #context: RuntimeContext;
  readonly #background: Background;
  readonly #containers: ContainerWatch;
  readonly #drift: DriftWatch;

  private constructor(
    context: RuntimeContext,
    background: Background,
    { containers, drift }: { readonly containers: ContainerWatch; readonly drift: DriftWatch },
  ) {
    super(context, background);
    this.#context = context;
    this.#background = background;
    this.#containers = containers;
    this.#drift = drift;
  }

  /** Reads the configuration directory and starts to watch it. */
  static async open(options: LiveOptions, { signal }: CallOptions = {}): Promise<LiveRuntime> {
    return await call({ signal }, async () => {
      // No sandbox is created before the background tasks run.
      const opened = Promise.withResolvers<Background>();
      const context = wire(options, {
        catalog: async (signal) => await (await opened.promise).source.current(signal),
      });
      await context.format.requireKnown();
      const background = await startBackground(context, options, {
        defaultNetwork: options.defaultNetwork,
        gc: async (source, signal) =>
          await collectGarbage(context, await source.current(signal), { skipHung: true }, { signal }),
      }, { signal });
      opened.resolve(background);
      const containers = new ContainerWatch({ ...context.sandboxContext, recovery: context.recovery });
      containers.start();
      return new LiveRuntime(context, background, { containers, drift: DriftWatch.start(context, options) });
    });
  }

  /** Network namespaces that outlive the process. */
  get sandboxes(): Sandboxes {
    return this.#context.sandboxes;
  }

  /** The records of attachments. */
  get records(): Pick<RuntimeContext, "store" | "failed" | "locks"> {
    return this.#context;
  }

  /** The directory of the records. */
  get stateDir(): string {
    return this.#context.sandboxContext.stateDir;
  }

  /** Returns whether no process is creating or tearing down the sandbox with that ID, or was interrupted while doing so. */
  async isSettled(id: string): Promise<boolean> {
    const found = await this.#context.sandboxContext.sandboxes.readAny(id);
    // A damaged record says nothing of an operation that is in progress.
    return found === undefined || isDamaged(found) || !isInTransition(found.phase);
  }

  /** Opens a pool of sandboxes that are created before they are requested. */
  async warmSandboxes(): Promise<WarmSandboxes> {
    const { sandboxContext, creator, store, recovery } = this.#context;
    const catalog = (signal?: AbortSignal) => this.#background.source.current(signal);
    return await WarmSandboxes.open({ ...sandboxContext, creator, store, recovery, catalog });
  }

  /** Calls `listener` within a few seconds after an infra container has ended by itself, until disposed of. */
  onInfraEnded(listener: (ended: InfraEnded) => void): AsyncDisposable {
    const watch = new InfraWatch({ ...this.#context.sandboxContext, onEnded: listener });
    watch.start();
    return watch;
  }

  /**
   * Keeps a DHCP daemon running for networks whose IPAM plugin is `dhcp`, and renews leases that a new daemon does not know,
   * until disposed of. Returns when the daemons listen, or cannot be started.
   */
  async keepDhcp(onEvent: (event: DhcpEvent) => void): Promise<AsyncDisposable> {
    const { runner, store, sandboxContext } = this.#context;
    const { attachments, run, running, log, timeouts, path: searchPath } = sandboxContext;
    const isInNetns: DhcpKeeperOptions["isInNetns"] = (record, path) =>
      attachments.removal.isInNetns(record, path);
    const { source } = this.#background;
    return await DhcpKeeper.start({
      ...{ runner, store, source, run, running, log, timeouts },
      ...{ searchPath, isInNetns, onEvent },
    });
  }

  /** The attachments that are known to be not as their ADD left them. */
  get drifted(): readonly Drift[] {
    return this.#drift.current;
  }

  /** Calls `listener` when an attachment has drifted, was repaired, or is well again, until disposed of. */
  onDrift(listener: (change: DriftChange) => void): Disposable {
    return this.#drift.onChange(listener);
  }

  /** As {@linkcode LiveOperations.status}; the warnings also say which attachments have drifted. */
  override async status(
    request: StatusRequest = {},
    options: CallOptions = {},
  ): Promise<readonly NetworkStatus[]> {
    const drifted = this.#drift.current.map(({ why, ...key }) => ({
      ...key,
      missing: [why],
      error: undefined,
    }));
    return (await super.status(request, options)).map((status) => {
      const { network, warnings = [] } = status;
      return network === undefined
        ? status
        : { ...status, warnings: [...warnings, ...driftWarnings(network, drifted)] };
    });
  }

  /** Stops watching and the timers, and waits for what they have in progress. */
  override async [Symbol.asyncDispose](): Promise<void> {
    await this.#drift[Symbol.asyncDispose]();
    await this.#containers[Symbol.asyncDispose]();
    await super[Symbol.asyncDispose]();
  }
}
