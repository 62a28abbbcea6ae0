import type { CallOptions } from "../async/call_options.ts";
import type { AttachRequest, DelOptions } from "../attachment/attachments.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateContainerId } from "../cni/name.ts";
import { call } from "../errors/call.ts";
import { nsProblem } from "../host/netns.ts";
import { hasValidNames } from "../state/attachment_key.ts";
import type { AttachmentKey } from "../state/attachment_store.ts";
import type { AttachContext } from "./context.ts";
import { nameOf, type NetworkRef, presentNetwork, presentOrRecorded } from "./network_ref.ts";

/** The operations of cnitool: one container, one network, and any namespace. */
export class AttachOperations {
  readonly #context: AttachContext;

  constructor(context: AttachContext) {
    this.#context = context;
  }

  /** Attaches a namespace to a network; returns the result as the last plugin wrote it, in the network's version. */
  async add(network: NetworkRef, request: AttachRequest, options: CallOptions): Promise<JsonObject> {
    const { attachments, catalog, format, beforeFirstAdd } = this.#context;
    return await call(options, async () => {
      const problem = await nsProblem(request.netns);
      const context = { verb: "ADD", network: nameOf(network), code: ERROR_CODES.invalidNetns };
      if (problem !== undefined) throw new CniError("not-found", `${request.netns}: ${problem}`, context);
      await format.requireKnown();
      const list = await presentNetwork(network, catalog, options.signal);
      await beforeFirstAdd(options.signal);
      await using _lock = await this.#hold(request, options);
      return await attachments.add(list, request, options);
    });
  }

  /** Asks the plugins whether the attachment is as its ADD left it. */
  async check(network: NetworkRef, request: AttachRequest, options: CallOptions): Promise<void> {
    const { attachments } = this.#context;
    await call(options, async () => {
      const list = await presentOrRecorded(network, request, this.#context, options.signal);
      await using _lock = await this.#hold(request, options);
      await attachments.check(list, request, options);
    });
  }

  /** Detaches a namespace from a network. */
  async del(network: NetworkRef, request: AttachRequest, options: DelOptions): Promise<void> {
    const { attachments, store } = this.#context;
    const { containerId, ifName } = request;
    await call(options, async () => {
      await using _lock = await this.#hold(request, options);
      const record = await store.read({ network: nameOf(network), containerId, ifName });
      if (record !== undefined) return await attachments.remove(record, options.signal);
      const list = await presentOrRecorded(network, request, this.#context, options.signal);
      await attachments.del(list, request, options);
    });
  }

  /** Returns whether podwire's records or libcni's cache have the attachment. */
  async has(key: AttachmentKey, options: CallOptions): Promise<boolean> {
    const { store, cache } = this.#context;
    return await call(options, async () => {
      if (!hasValidNames(key)) return false;
      return await store.look(key) !== undefined || await cache.has(key);
    });
  }

  async #hold({ containerId }: AttachRequest, { signal }: CallOptions): Promise<AsyncDisposable> {
    // The ID becomes the name of a lock file.
    validateContainerId(containerId);
    return await this.#context.locks.containers.hold(containerId, signal);
  }
}
