import type { CallOptions } from "../async/call_options.ts";
import type { AttachRequest, DelOptions } from "../attachment/attachments.ts";
import type { ForgetReport, ForgetRequest } from "../attachment/forget.ts";
import { validateChain, type ValidNetwork } from "../attachment/validate.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult, type Result } from "../cni/result.ts";
import { call } from "../errors/call.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import { withDriftWarnings } from "../readiness/drift_warning.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import { checkStatus, type StatusOptions } from "../readiness/status_check.ts";
import { namedTarget, networkTarget, type StatusTarget, statusTargets } from "../readiness/status_target.ts";
import type { RecoverOptions, RecoveryReport } from "../sandbox/recovery_report.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import type { AttachmentFilter } from "../state/attachment_filter.ts";
import type { AttachmentKey, AttachmentRecord } from "../state/attachment_store.ts";
import { AttachOperations } from "./attach_operations.ts";
import type { RuntimeContext } from "./context.ts";
import { type NetworkRef, presentNetwork } from "./network_ref.ts";
import { Operations } from "./operations.ts";
import type { RuntimeOptions } from "./options.ts";
import { PluginOperations } from "./plugin_operations.ts";
import { wire } from "./wiring.ts";

export type { NetworkRef } from "./network_ref.ts";
export { DEFAULTS, type RuntimeOptions } from "./options.ts";

/**
 * A whole CNI runtime: sandboxes, single attachments, the networks of a directory, recovery.
 *
 * Nothing is read or run before a method is called. The last argument of each method takes a `signal` that cancels the call.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directories of the options, `--allow-run` for iproute2, util-linux
 * and the plugins. Methods that change namespaces need root. No environment variable is read.
 * `--allow-ffi`, if it is granted unscoped, lets podwire speak to the kernel itself instead of through iproute2 and
 * util-linux, which then need not be granted; nothing but the time differs.
 *
 * @example
 * ```ts
 * import { Podwire } from "./podwire.ts";
 *
 * const podwire = new Podwire({ timeouts: { ADD: 10_000 } });
 * for (const { name, status } of await podwire.networks()) console.log(name, status);
 * ```
 */
export class Podwire extends PluginOperations {
  /** Network namespaces that outlive the process. */
  readonly sandboxes: Sandboxes;
  readonly #context: RuntimeContext;
  readonly #operations: Operations;
  readonly #attach: AttachOperations;
  readonly #defaultNetwork: string | undefined;

  /** Creates a runtime; reads, writes and runs nothing. */
  constructor(options: RuntimeOptions = {}) {
    const context = wire(options);
    super(context);
    this.#context = context;
    this.#operations = new Operations(this.#context, this.#context.readOnlyCatalog);
    this.#attach = new AttachOperations(this.#context);
    this.#defaultNetwork = options.defaultNetwork;
    this.sandboxes = this.#context.sandboxes;
  }

  /**
   * Attaches a namespace to a network, as cnitool does. Returns the result in the shape of version 1.1.0; members that CNI
   * does not define are kept, unless the network's version is older than 1.0.0 and the result had to be converted.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Attachment".
   *
   * @throws {CniError} with the failure; then nothing is attached, or a record says what is left
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const podwire = new Podwire();
   * const target = { containerId: "c1", netns: "/run/netns/c1", ifName: "eth0" };
   * const { ips = [] } = await podwire.add("web", target);
   * console.log(ips.map(({ address }) => address));
   * await podwire.check("web", target);
   * await podwire.del("web", target);
   * ```
   */
  async add(network: NetworkRef, request: AttachRequest, options: CallOptions = {}): Promise<Result> {
    const json = await this.#attach.add(network, request, options);
    return await call({}, () => asResult(json));
  }

  /**
   * As {@linkcode Podwire.add}, but returns the result as the last plugin wrote it, in the network's version: what cnitool
   * prints.
   *
   * Permissions: as {@linkcode Podwire.add}.
   *
   * @throws {CniError} as {@linkcode Podwire.add}
   */
  async addJson(
    network: NetworkRef,
    request: AttachRequest,
    options: CallOptions = {},
  ): Promise<JsonObject> {
    return await this.#attach.add(network, request, options);
  }

  /**
   * Asks the network's plugins whether the attachment is as its ADD left it. If the network's file is gone, the
   * configuration of the ADD is used, as podwire's record or libcni's cache has it.
   *
   * Permissions: those of the class, and root. See {@linkcode Podwire.add} for an example.
   *
   * Source: CNI specification 1.1.0, section 3 "Checking".
   *
   * @throws {CniError} if it is not
   */
  async check(network: NetworkRef, request: AttachRequest, options: CallOptions = {}): Promise<void> {
    await this.#attach.check(network, request, options);
  }

  /**
   * Detaches a namespace from a network. If podwire's record, or libcni's cache for what a Go runtime attached, has the
   * configuration of the ADD, that one is used. So this works after the network's file is gone.
   *
   * Permissions: those of the class, and root. See {@linkcode Podwire.add} for an example.
   *
   * Source: CNI specification 1.1.0, section 3 "Deletion".
   *
   * @throws {CniError} with the failure; then the record stays
   */
  async del(network: NetworkRef, request: AttachRequest, options: DelOptions = {}): Promise<void> {
    await this.#attach.del(network, request, options);
  }

  /**
   * Returns the state of each file of the configuration directory.
   *
   * Permissions: `--allow-read` for the configuration directory; if that is empty, also for `/proc` and the folders of
   * `PATH`.
   *
   * @throws {CniError} if the directory cannot be read; a bad file is an entry, not an error
   */
  async networks(options: CallOptions = {}): Promise<readonly CatalogEntry[]> {
    return await this.#operations.networks(options);
  }

  /**
   * Returns the network with that name, as cnitool chooses it: lists before single configurations. A configuration is
   * returned as it is.
   *
   * Permissions: as {@linkcode Podwire.networks}.
   *
   * @throws {CniError} kind `not-found`, naming the files that were rejected
   */
  async network(network: NetworkRef, { signal }: CallOptions = {}): Promise<NetworkConfigList> {
    return await call({ signal }, () => presentNetwork(network, this.#context.readOnlyCatalog, signal));
  }

  /**
   * Returns whether that network, or each network of the directory, can attach containers now: its plugins exist and support
   * its version, and from version 1.1.0 on they also answer STATUS. It never waits for other operations.
   *
   * Its warnings say also whether rules of its attachments are lost, as after a flush, or packets are not forwarded: what
   * {@linkcode Sandboxes.repair} puts back.
   *
   * A file that cannot be used has a status too (`invalid-config`), and so has a missing default network (`no-config`). The
   * state directory, if it can be written, remembers since when they are so.
   *
   * Permissions: as {@linkcode Podwire.networks}, and `--allow-run` for the plugins; `--allow-read` and `--allow-write`
   * for the state directory only to remember.
   *
   * Source: CNI specification 1.1.0, section 2 "STATUS".
   *
   * @throws {CniError} kind `not-found` if no network has that name, or the reason of the signal
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * for (const { network, ready, msg } of await new Podwire().status()) console.log(network, ready, msg);
   * ```
   */
  async status(
    network?: NetworkRef,
    { graceMs, signal }: StatusOptions = {},
  ): Promise<readonly NetworkStatus[]> {
    return await call({ signal }, async () => {
      const { probeNetwork, readinessMemory: memory, rules } = this.#context;
      const ask = withDriftWarnings(probeNetwork, () => rules.find({ forwarding: true, signal }));
      const targets = await this.#statusTargets(network, signal);
      return await checkStatus(targets, { ask, memory, all: network === undefined, graceMs, signal });
    });
  }

  /**
   * Removes the attachments that are not in use any more and the namespaces that podwire made for sandboxes that are gone,
   * and lets the plugins release what belongs to no attachment. An attachment of a sandbox is in use while the sandbox is on
   * record; for pods of an engine the list in the request decides; one that was made by hand is removed only if the request
   * says which are in use, or that none is.
   *
   * It may be repeated, also by a timer. Other attachments to a network wait only while the plugins of that network clean up.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Garbage-collecting a network".
   *
   * @throws {CniError} kind `usage` or `not-found`; what could not be removed is reported, not thrown
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const valid = [{ containerId: "c1", ifName: "eth0" }];
   * const { removed, failed } = await new Podwire().gc({ valid, dryRun: true });
   * console.log(removed.map(({ containerId, why }) => `${containerId}: ${why}`), failed.length);
   * ```
   */
  async gc(request: GcRequest = {}, options: CallOptions = {}): Promise<GcReport> {
    return await this.#operations.gc(request, options);
  }

  /**
   * Checks that all plugins of a network exist and support its version; returns the version that they would be called with,
   * and their capabilities.
   *
   * Permissions: as {@linkcode Podwire.status}.
   *
   * Source: CNI specification 1.1.0, section 1 "Version considerations".
   *
   * @throws {CniError} with what is wrong; if several things are, the `cause` is an `AggregateError` with each
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const { cniVersion, capabilities } = await new Podwire().validate("web");
   * console.log(cniVersion, capabilities);
   * ```
   */
  async validate(network: NetworkRef, options: CallOptions = {}): Promise<ValidNetwork> {
    return await call(
      options,
      async () =>
        await validateChain(this.#context.probe, await this.network(network, options), options.signal),
    );
  }

  /**
   * Returns the attachments on record that match the filter, those that could not be detached included.
   *
   * Permissions: `--allow-read` and, to set bad records aside, `--allow-write` for the state directory.
   *
   * @throws {CniError} if the records cannot be read
   */
  async attachments(
    filter: AttachmentFilter = {},
    options: CallOptions = {},
  ): Promise<readonly AttachmentRecord[]> {
    return await this.#operations.attachments(filter, options);
  }

  /**
   * Returns whether an attachment is on record, in any state: in podwire's own records, or in libcni's cache. Returns false
   * for names that are not valid.
   *
   * Permissions: as {@linkcode Podwire.attachments}, and `--allow-read` for the cache directory.
   *
   * @throws {CniError} if the record or the cache cannot be read
   */
  async isAttached(key: AttachmentKey, options: CallOptions = {}): Promise<boolean> {
    return await this.#attach.has(key, options);
  }

  /**
   * Deletes the records of attachments that cannot be detached, after a last DEL, and logs what may be left behind.
   *
   * Permissions: those of the class, and root.
   *
   * @throws {CniError} kind `not-found`, `usage` without a reason, or `conflict` for an attachment that can be detached
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const { forgotten } = await new Podwire().forget({ containerId: "c1", reason: "no plugin", dryRun: true });
   * console.log(forgotten.flatMap(({ remaining }) => remaining));
   * ```
   */
  async forget(request: ForgetRequest, options: CallOptions = {}): Promise<ForgetReport> {
    return await this.#operations.forget(request, options);
  }

  /**
   * Finishes or undoes what a crash or a reboot interrupted, retries failed removals, and removes namespaces of sandboxes
   * that are gone; several containers at once. It may be repeated, and several processes may share the work: a container that
   * another process works on is left to that process.
   *
   * Permissions: those of the class, and root.
   *
   * @throws {CniError} if the records cannot be read; what could not be removed is reported, not thrown
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const { removed, failed } = await new Podwire().recover({
   *   onProgress: ({ done, total }) => console.error(`${done} of ${total}`),
   * });
   * console.log(`${removed.length} removed, ${failed.length} left`);
   * ```
   */
  async recover(options: RecoverOptions = {}): Promise<RecoveryReport> {
    return await this.#operations.recover(options);
  }

  async #statusTargets(
    network: NetworkRef | undefined,
    signal: AbortSignal | undefined,
  ): Promise<readonly StatusTarget[]> {
    if (network !== undefined && typeof network !== "string") return [networkTarget(network)];
    const catalog = await this.#context.readOnlyCatalog(signal);
    if (network === undefined) return statusTargets(catalog, this.#defaultNetwork);
    return [namedTarget(catalog, network)];
  }
}
