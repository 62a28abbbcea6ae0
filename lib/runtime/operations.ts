import type { CallOptions } from "../async/call_options.ts";
import type { ForgetReport, ForgetRequest } from "../attachment/forget.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import { onEntries } from "../catalog/source.ts";
import { validateContainerId } from "../cni/name.ts";
import { call } from "../errors/call.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import type { CreatedNetwork } from "../network/create_network.ts";
import type { NetworkRequest } from "../network/network_request.ts";
import type { NetworkChange } from "../network/set_network.ts";
import type { Operation } from "../plugin/instrumentation.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import type { RecoverOptions, RecoveryReport } from "../sandbox/recovery_report.ts";
import { type AttachmentFilter, findAttachments } from "../state/attachment_filter.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import type { Background } from "./background.ts";
import type { RuntimeContext } from "./context.ts";
import { NetworkOperations } from "./network_operations.ts";

/**
 * The operations that `Podwire`, `Pods` and `LiveRuntime` have in common.
 *
 * Each method refuses a signal that has fired, and throws nothing but `CniError`.
 */
export class Operations extends NetworkOperations {
  readonly #context: RuntimeContext;
  readonly #catalog: (signal?: AbortSignal) => Promise<Catalog>;

  /** `catalog` returns the networks as they are configured now. */
  constructor(context: RuntimeContext, catalog: (signal?: AbortSignal) => Promise<Catalog>) {
    super(context);
    this.#context = context;
    this.#catalog = catalog;
  }

  /** Returns the state of each file of the configuration directory. */
  async networks({ signal }: CallOptions = {}): Promise<readonly CatalogEntry[]> {
    return await call({ signal }, async () => (await this.#catalog(signal)).entries);
  }

  /** Returns the attachments on record that match the filter. */
  async attachments(
    filter: AttachmentFilter = {},
    options: CallOptions = {},
  ): Promise<readonly AttachmentRecord[]> {
    return await call(options, () => findAttachments(filter, this.#context));
  }

  /**
   * Collects garbage on the networks of the catalog and on those that only records name.
   *
   * @throws {CniError} kind `not-found` for a network that is neither
   */
  async gc(request: GcRequest = {}, options: CallOptions = {}): Promise<GcReport> {
    return await this.#operation("gc", options, async () => {
      return await collectGarbage(this.#context, await this.#catalog(options.signal), request, options);
    });
  }

  /** Deletes the records of attachments that cannot be detached, after a last DEL. */
  async forget(request: ForgetRequest, options: CallOptions = {}): Promise<ForgetReport> {
    return await call(options, () => {
      // The ID becomes the name of a lock file.
      validateContainerId(request.containerId);
      return this.#context.forget(request, options);
    });
  }

  /** Finishes or undoes what a crash or a reboot interrupted. */
  async recover(options: RecoverOptions = {}): Promise<RecoveryReport> {
    return await this.#operation("recover", options, () => this.#context.recovery.recover(options));
  }

  async #operation<T>(operation: Operation, options: CallOptions, body: () => Promise<T>): Promise<T> {
    return await this.#context.instrumentation.operation(operation, {}, () => call(options, body));
  }
}

/** Which networks {@linkcode LiveOperations.status} is about, and whether their plugins are asked. */
export interface StatusRequest {
  /** Only this network, by its name. @default {all networks} */
  readonly network?: string | undefined;
  /** Asks the plugins and waits for them. @default {false} */
  readonly fresh?: boolean | undefined;
}

/** The operations of a process that keeps running: it watches the directories, and knows which networks are ready. */
export class LiveOperations extends Operations implements AsyncDisposable {
  readonly #background: Background;

  constructor(context: RuntimeContext, background: Background) {
    super(context, (signal) => background.source.current(signal));
    this.#background = background;
  }

  /** Reads the configuration directory now, and returns the state of each file. */
  async reload({ signal }: CallOptions = {}): Promise<readonly CatalogEntry[]> {
    return await call({ signal }, async () => (await this.#background.source.reload(signal)).entries);
  }

  /** As {@linkcode NetworkOperations.createNetwork}; when it returns, pods can use the network. */
  override async createNetwork(request: NetworkRequest, options: CallOptions = {}): Promise<CreatedNetwork> {
    const created = await super.createNetwork(request, options);
    await this.reload();
    return created;
  }

  /** As {@linkcode NetworkOperations.setNetwork}. */
  override async setNetwork(name: string, change: NetworkChange, options: CallOptions = {}): Promise<void> {
    await super.setNetwork(name, change, options);
    await this.reload();
  }

  /** As {@linkcode NetworkOperations.removeNetwork}. */
  override async removeNetwork(name: string, options: CallOptions = {}): Promise<void> {
    await super.removeNetwork(name, options);
    await this.reload();
  }

  /**
   * Returns whether the networks are ready, as their plugins answered last; `fresh` asks them.
   *
   * @throws {CniError} kind `not-found` for an unknown network
   */
  async status(
    request: StatusRequest = {},
    options: CallOptions = {},
  ): Promise<readonly NetworkStatus[]> {
    return await call(options, () => this.#background.readiness.answer(request, options));
  }

  /** Calls `listener` with the state of the files after each change of the networks, until disposed of. */
  onNetworks(listener: (entries: readonly CatalogEntry[]) => void): Disposable {
    return onEntries(this.#background.source, listener);
  }

  /** Calls `listener` when the readiness of a network, or its reason, changes, until disposed of. */
  onStatus(listener: (status: NetworkStatus) => void): Disposable {
    return this.#background.readiness.onChange(listener);
  }

  /** Stops watching and the timers, and waits for what they have in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#background[Symbol.asyncDispose]();
  }
}

/**
 * Collects garbage once.
 *
 * @throws {CniError} kind `not-found` for a network that neither the catalog nor a record has
 */
export async function collectGarbage(
  { store, garbage, format }: Pick<RuntimeContext, "store" | "garbage" | "format">,
  catalog: Catalog,
  request: GcRequest,
  options: CallOptions,
): Promise<GcReport> {
  if (!request.dryRun) await format.requireKnown();
  const { network } = request;
  const isKnown = network === undefined || catalog.lists.some(({ name }) => name === network) ||
    (await store.ofNetwork(network)).length > 0;
  // Throws the error that names the rejected files.
  if (!isKnown) catalog.asCnitool(network);
  return await garbage.collect(catalog.lists, request, options);
}
