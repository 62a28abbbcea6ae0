import { nsProblem } from "../host/netns.ts";
import { hasValidNames } from "../state/attachment_key.ts";
import { nameOf, type NetworkRef, presentNetwork, presentOrRecorded } from "./network_ref.ts";
import { type AttachmentFilter, findAttachments } from "../state/attachment_filter.ts";
import { withContainerLock } from "../state/container_locks.ts";
import type { ForgetReport, ForgetRequest } from "../attachment/forget.ts";
import type { GcReport, GcRequest } from "../gc/report.ts";
import type { CallOptions } from "../async/call_options.ts";
import type { AttachRequest, DelOptions } from "../attachment/attachments.ts";
import type { AttachmentKey, AttachmentRecord } from "../state/attachment_store.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import { validateChain, type ValidNetwork } from "../attachment/validate.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import type { Operation } from "../plugin/instrumentation.ts";
import type { PluginVersions } from "../plugin/versions.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import { checkStatus, type StatusOptions } from "../readiness/status_check.ts";
import { namedTarget, networkTarget, type StatusTarget, statusTargets } from "../readiness/status_target.ts";
import type { RuntimeOptions } from "./options.ts";
import type { RecoverOptions, RecoveryReport } from "../sandbox/recovery_report.ts";
import type { Sandboxes } from "../sandbox/sandbox.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { validateContainerId } from "../cni/name.ts";
import { collectGarbage, type Parts, wire } from "./wiring.ts";

export type { NetworkRef } from "./network_ref.ts";
export { DEFAULTS, type RuntimeOptions } from "./options.ts";

/**
 * A whole CNI runtime: sandboxes, single attachments, the networks of a directory, recovery.
 *
 * Nothing is read or run before a method is called. Permissions: `--allow-read` and `--allow-write`
 * for the directories of the options, `--allow-run` for iproute2, util-linux and the plugins; what
 * changes namespaces needs root. No environment variable is read.
 *
 * @example
 * ```ts
 * import { Podwire } from "./podwire.ts";
 *
 * const podwire = new Podwire({ timeouts: { ADD: 10_000 } });
 * for (const { name, status } of await podwire.networks()) console.log(name, status);
 * ```
 */
export class Podwire {
  /** Network namespaces that outlive the process. */
  readonly sandboxes: Sandboxes;
  readonly #parts: Parts;
  readonly #defaultNetwork: string | undefined;

  /** Wires the parts; touches nothing. */
  constructor(options: RuntimeOptions = {}) {
    this.#parts = wire(options);
    this.#defaultNetwork = options.defaultNetwork;
    this.sandboxes = this.#parts.sandboxes;
  }

  /**
   * Attaches a namespace to a network, as cnitool does, and gives the result in the network's version.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Attachment".
   *
   * @throws {CniError} with what failed; then nothing is attached, or a record says what is left
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const podwire = new Podwire();
   * const target = { containerId: "c1", netns: "/run/netns/c1", ifName: "eth0" };
   * console.log(await podwire.add("web", target));
   * await podwire.check("web", target);
   * await podwire.del("web", target);
   * ```
   */
  async add(network: NetworkRef, request: AttachRequest, options: CallOptions = {}): Promise<JsonObject> {
    return await withCniErrors(async () => {
      const problem = await nsProblem(request.netns);
      const context = { verb: "ADD", network: nameOf(network), code: ERROR_CODES.invalidNetns };
      if (problem !== undefined) throw new CniError("not-found", `${request.netns}: ${problem}`, context);
      await this.#parts.format.requireKnown();
      const list = await presentNetwork(network, this.#parts.catalog);
      await this.#parts.recovery.beforeFirstAdd(options.signal);
      return await this.#locked(request, options, () => this.#parts.attachments.add(list, request, options));
    });
  }

  /**
   * Asks the network's plugins whether the attachment is as it should be. If the network's file is gone, the
   * configuration of its ADD is used, as the record or libcni's cache has it.
   *
   * Permissions: those of the class, and root. See {@linkcode Podwire.add} for an example.
   *
   * Source: CNI specification 1.1.0, section 3 "Checking".
   *
   * @throws {CniError} if it is not
   */
  async check(network: NetworkRef, request: AttachRequest, options: CallOptions = {}): Promise<void> {
    await withCniErrors(async () => {
      const list = await presentOrRecorded(network, request, this.#parts);
      await this.#locked(request, options, () => this.#parts.attachments.check(list, request, options));
    });
  }

  /**
   * Detaches a namespace from a network. The configuration of its ADD is used where it is on record or, of what a Go
   * runtime attached, in libcni's cache, so this works when the file is gone.
   *
   * Permissions: those of the class, and root. See {@linkcode Podwire.add} for an example.
   *
   * Source: CNI specification 1.1.0, section 3 "Deletion".
   *
   * @throws {CniError} with what failed; then the record stays
   */
  async del(network: NetworkRef, request: AttachRequest, options: DelOptions = {}): Promise<void> {
    const { containerId, ifName } = request;
    await withCniErrors(() =>
      this.#locked(request, options, async () => {
        const record = await this.#parts.store.read({ network: nameOf(network), containerId, ifName });
        if (record !== undefined) return await this.#parts.attachments.remove(record, options.signal);
        const list = await presentOrRecorded(network, request, this.#parts);
        await this.#parts.attachments.del(list, request, options);
      })
    );
  }

  /**
   * What became of each file of the configuration directory.
   *
   * Permissions: `--allow-read` for the configuration directory; where that is empty, for `/proc` and the folders
   * of `PATH` too.
   *
   * @throws {CniError} if the directory cannot be read; a bad file is an entry, not an error
   */
  async networks(): Promise<readonly CatalogEntry[]> {
    return await withCniErrors(async () => (await this.#parts.seenCatalog()).entries);
  }

  /**
   * The network of that name, as cnitool chooses it: lists before single configurations. A configuration is
   * given back as it is.
   *
   * Permissions: as {@linkcode Podwire.networks}.
   *
   * @throws {CniError} kind `not-found`, naming the files that were rejected
   */
  async network(network: NetworkRef): Promise<NetworkConfigList> {
    return await withCniErrors(() => presentNetwork(network, this.#parts.seenCatalog));
  }

  /**
   * Whether that network, or each one of the directory, can attach containers now: its plugins are there and support its
   * version, and from version 1.1.0 on they say so themselves. Never waits for what others do.
   *
   * A file that cannot be used has a status too (`invalid-config`), and so has the default network if there is none
   * (`no-config`). Since when they are so is remembered in the state directory, if that can be written.
   *
   * Permissions: as {@linkcode Podwire.networks}, and `--allow-run` for the plugins; `--allow-read` and `--allow-write`
   * for the state directory only to remember.
   *
   * Source: CNI specification 1.1.0, section 2 "STATUS".
   *
   * @throws {CniError} kind `not-found` for a name that is no network's, or what the signal says
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
    return await withCniErrors(async () => {
      const { ask, readiness: memory } = this.#parts;
      const subjects = await this.#subjects(network);
      return await checkStatus(subjects, { ask, memory, all: network === undefined, graceMs, signal });
    });
  }

  /**
   * Removes the attachments that nobody owns any more and the namespaces that podwire made and no sandbox owns, and
   * lets the plugins release what belongs to none. An attachment whose sandbox is on record is in use; one of a pod is
   * judged by the request's list of its engine; one that was made by hand is only removed when the request says which
   * are in use, or that none is.
   *
   * It may be repeated, by a timer too, and does not keep others from attaching but for the time in which the plugins
   * of one network clean up.
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
    return await this.#operation("gc", async () => {
      return await collectGarbage(
        this.#parts,
        await this.#parts.seenCatalog(options.signal),
        request,
        options,
      );
    });
  }

  /**
   * Whether all plugins of a network are there and support its version: gives the version that they would be
   * spoken with in, and their capabilities.
   *
   * Permissions: as {@linkcode Podwire.status}.
   *
   * Source: CNI specification 1.1.0, section 1 "Version considerations".
   *
   * @throws {CniError} with what is wrong; of several things the `cause` is an `AggregateError` with each
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const { cniVersion, capabilities } = await new Podwire().validate("web");
   * console.log(cniVersion, capabilities);
   * ```
   */
  async validate(network: NetworkRef, signal?: AbortSignal): Promise<ValidNetwork> {
    return await withCniErrors(async () =>
      validateChain(this.#parts.probe, await this.network(network), signal)
    );
  }

  /**
   * The versions that a plugin says it supports. Each executable is asked once, until it changes.
   *
   * Permissions: `--allow-read` for the plugin directories, `--allow-run` for the plugin.
   *
   * Source: CNI specification 1.1.0, section 2 "VERSION".
   *
   * @throws {CniError} kind `plugin-missing`, or with what became of the plugin
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * console.log((await new Podwire().pluginVersions("bridge")).supportedVersions);
   * ```
   */
  async pluginVersions(type: string, signal?: AbortSignal): Promise<PluginVersions> {
    return await withCniErrors(() => this.#parts.probe.of(type, signal));
  }

  /**
   * The attachments on record, those among them that could not be detached too: all, or those that are meant.
   *
   * Permissions: `--allow-read` and, to set bad records aside, `--allow-write` for the state directory.
   *
   * @throws {CniError} if the records cannot be read
   */
  async attachments(filter: AttachmentFilter = {}): Promise<readonly AttachmentRecord[]> {
    return await withCniErrors(() => findAttachments(filter, this.#parts));
  }

  /**
   * Whether an attachment is on record: podwire's own, in whatever state, or in libcni's cache. One with names that
   * cannot be is not.
   *
   * Permissions: as {@linkcode Podwire.attachments}, and `--allow-read` for the cache directory.
   *
   * @throws {CniError} if the record or the cache cannot be read
   */
  async isAttached(key: AttachmentKey): Promise<boolean> {
    return await withCniErrors(async () => {
      if (!hasValidNames(key)) return false;
      const { store, cache } = this.#parts;
      return await store.look(key) !== undefined || await cache.has(key);
    });
  }

  /**
   * Lets go of attachments that cannot be detached, after a last DEL, and logs what may be left behind.
   *
   * Permissions: those of the class, and root.
   *
   * @throws {CniError} kind `not-found`, `usage` without a reason, or `conflict` for what is attached and can be detached
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
    validateContainerId(request.containerId);
    return await withCniErrors(() => this.#parts.forget(request, options));
  }

  /**
   * Finishes or undoes what a crash or a reboot interrupted, retries failed removals, and removes namespaces that no
   * sandbox owns; several containers at once. It may be repeated, and several may share the work: what somebody works
   * on is left to them.
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
    return await this.#operation("recover", () => this.#parts.recovery.recover(options));
  }

  async #locked<T>(
    { containerId }: AttachRequest,
    { signal }: CallOptions,
    body: () => Promise<T>,
  ): Promise<T> {
    // Before it becomes the name of a lock file.
    validateContainerId(containerId);
    return await withContainerLock(this.#parts.locks, containerId, signal, body);
  }

  async #operation<T>(operation: Operation, body: () => Promise<T>): Promise<T> {
    return await this.#parts.watch.operation(operation, {}, () => withCniErrors(body));
  }

  async #subjects(network: NetworkRef | undefined): Promise<readonly StatusTarget[]> {
    if (network !== undefined && typeof network !== "string") return [networkTarget(network)];
    const catalog = await this.#parts.seenCatalog();
    if (network === undefined) return statusTargets(catalog, this.#defaultNetwork);
    return [namedTarget(catalog, network)];
  }
}
