import type { CallOptions } from "../async/call_options.ts";
import { type AttachmentFilter, findAttachments } from "../state/attachment_filter.ts";
import type { ForgetReport, ForgetRequest } from "../attachment/forget.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import type { Operation } from "../plugin/instrumentation.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import { onEntries } from "../catalog/source.ts";
import type { Readiness } from "../readiness/readiness.ts";
import type { RuntimeOptions } from "./options.ts";
import { ContainerWatch } from "../sandbox/container_watch.ts";
import { type InfraEnded, InfraWatch } from "../sandbox/infra_watch.ts";
import { isInTransition } from "../sandbox/record.ts";
import type { RecoverOptions, RecoveryReport } from "../sandbox/recovery_report.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import { WarmSandboxes } from "../sandbox/warm_sandboxes.ts";
import { validateContainerId } from "../cni/name.ts";
import { type Background, startBackground } from "./background.ts";
import { collectGarbage, type Parts, wire } from "./wiring.ts";

/** How a {@linkcode LiveRuntime} is opened. */
export interface LiveOptions extends RuntimeOptions {
  /** Milliseconds between two looks at the directories, and between two questions to the networks. @default {10_000} */
  readonly pollMs?: number | undefined;
  /** For how many milliseconds a network that was ready and fails counts as ready. @default {30_000} */
  readonly graceMs?: number | undefined;
  /** Milliseconds between two sweeps; 0 for none. @default {0} */
  readonly gcIntervalMs?: number | undefined;
}

/**
 * A runtime of a process that lasts: it has read the configuration before it is asked, knows which networks are ready,
 * and sees to what failed or was left. The records are those that everybody works on.
 *
 * Permissions: those of {@linkcode Podwire}.
 */
export class LiveRuntime implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #upkeep: Background;
  readonly #containers: ContainerWatch;

  private constructor(parts: Parts, upkeep: Background, containers: ContainerWatch) {
    this.#parts = parts;
    this.#upkeep = upkeep;
    this.#containers = containers;
  }

  /** Reads the configuration directory and begins to watch it. */
  static async open(options: LiveOptions, signal?: AbortSignal): Promise<LiveRuntime> {
    return await withCniErrors(async () => {
      // No sandbox is made before the upkeep has begun.
      const opened = Promise.withResolvers<Background>();
      const parts = wire(options, {
        catalog: async (signal) => await (await opened.promise).source.current(signal),
      });
      const gc: Parameters<typeof startBackground>[1]["gc"] = async (source, signal) =>
        await collectGarbage(parts, await source.current(signal), { sparesHung: true }, { signal });
      await parts.format.requireKnown();
      const upkeep = await startBackground(parts, { ...options, gc }, signal);
      opened.resolve(upkeep);
      const containers = new ContainerWatch({ ...parts.common, recovery: parts.recovery });
      containers.start();
      return new LiveRuntime(parts, upkeep, containers);
    });
  }

  /** Network namespaces that outlive the process. */
  get sandboxes(): Sandboxes {
    return this.#parts.sandboxes;
  }

  /** What is on record of attachments. */
  get records(): Pick<Parts, "store" | "failed" | "locks"> {
    return this.#parts;
  }

  /** Whether nobody is making or taking down the sandbox of that ID, nor was interrupted while doing so. */
  async isSettled(id: string): Promise<boolean> {
    const found = await this.#parts.common.sandboxes.look(id);
    // Of one whose record cannot be used nothing is known to be under way.
    return found === undefined || !("phase" in found) || !isInTransition(found.phase);
  }

  /** Where the records are. */
  get stateDir(): string {
    return this.#parts.common.stateDir;
  }

  /** Sandboxes that are made before they are asked for. */
  async warmSandboxes(): Promise<WarmSandboxes> {
    const { common, creator, store, recovery } = this.#parts;
    const catalog = (signal?: AbortSignal) => this.#upkeep.source.current(signal);
    return await WarmSandboxes.open({ ...common, creator, store, recovery, catalog });
  }

  /** What became of each file of the configuration directory. */
  async networks(signal?: AbortSignal): Promise<readonly CatalogEntry[]> {
    return await withCniErrors(async () => (await this.#upkeep.source.current(signal)).entries);
  }

  /** Reads the configuration directory now. */
  async reload(signal?: AbortSignal): Promise<readonly CatalogEntry[]> {
    return await withCniErrors(async () => (await this.#upkeep.source.reload(signal)).entries);
  }

  /**
   * Whether the networks are ready, as their plugins said last; `fresh` asks them.
   *
   * @throws {CniError} kind `not-found` for an unknown network
   */
  async status(request: Parameters<Readiness["answer"]>[0] = {}): Promise<readonly NetworkStatus[]> {
    return await withCniErrors(() => this.#upkeep.readiness.answer(request));
  }

  /** The attachments on record that are meant. */
  async attachments(filter: AttachmentFilter = {}): Promise<readonly AttachmentRecord[]> {
    return await withCniErrors(() => findAttachments(filter, this.#parts));
  }

  /** As {@linkcode Podwire.gc}. */
  async gc(request: GcRequest = {}, options: CallOptions = {}): Promise<GcReport> {
    return await this.#operation(
      "gc",
      async () =>
        await collectGarbage(
          this.#parts,
          await this.#upkeep.source.current(options.signal),
          request,
          options,
        ),
    );
  }

  /** As {@linkcode Podwire.forget}. */
  async forget(request: ForgetRequest, options: CallOptions = {}): Promise<ForgetReport> {
    validateContainerId(request.containerId);
    return await withCniErrors(() => this.#parts.forget(request, options));
  }

  /** As {@linkcode Podwire.recover}. */
  async recover(options: RecoverOptions = {}): Promise<RecoveryReport> {
    return await this.#operation("recover", () => this.#parts.recovery.recover(options));
  }

  async #operation<T>(operation: Operation, body: () => Promise<T>): Promise<T> {
    return await this.#parts.watch.operation(operation, {}, () => withCniErrors(body));
  }

  /** Calls `listener` with what became of the files after each change of the networks, until disposed of. */
  onNetworks(listener: (entries: readonly CatalogEntry[]) => void): Disposable {
    return onEntries(this.#upkeep.source, listener);
  }

  /** Calls `listener` when a network becomes ready or ceases to be, or for another reason; until disposed of. */
  onStatus(listener: (status: NetworkStatus) => void): Disposable {
    return this.#upkeep.readiness.onChange(listener);
  }

  /** Calls `listener` when an infra container has ended by itself, within a few seconds; until disposed of. */
  onInfraEnded(listener: (ended: InfraEnded) => void): AsyncDisposable {
    const watch = new InfraWatch({ ...this.#parts.common, onEnded: listener });
    watch.start();
    return watch;
  }

  /** Ends the watching, the timers and what they have under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#containers[Symbol.asyncDispose]();
    await this.#upkeep[Symbol.asyncDispose]();
  }
}
