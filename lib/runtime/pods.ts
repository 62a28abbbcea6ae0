import type { CallOptions } from "../async/call_options.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import type { CniError } from "../cni/error.ts";
import { call } from "../errors/call.ts";
import type { GcReport } from "../gc/report.ts";
import type { PodResult } from "../pod/pod_result.ts";
import type { PodRequest } from "../pod/request.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import type { PodToTearDown } from "../sandbox/engine_pods.ts";
import type { PodStatus } from "../sandbox/pod_status.ts";
import type { RecoverOptions, RecoveryReport } from "../sandbox/recovery_report.ts";
import type { AttachmentFilter } from "../state/attachment_filter.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { openPods, type PodsContext, type PodsGcRequest, type PodsOptions } from "./open_pods.ts";
import type { StatusRequest } from "./operations.ts";

export type { PodsGcRequest, PodsOptions } from "./open_pods.ts";
export type { StatusRequest } from "./operations.ts";

/**
 * The networks of the pods of a container engine. It is made for many networks and pods, for a configuration directory that
 * changes, for plugins that hang, and for processes that are killed.
 *
 * While it is open it watches the directories, asks the networks whether they are ready, and retries what could not be
 * detached. Operations on one container run one after another, also across processes; operations on different containers run
 * at the same time. The last argument of each method takes a `signal` that cancels the call.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directories of the options, `--allow-run` for iproute2,
 * util-linux and the plugins. Methods that change namespaces need root. No environment variable is read.
 * `--allow-ffi`, if it is granted unscoped, lets podwire speak to the kernel itself instead of through iproute2 and
 * util-linux, which then need not be granted; nothing but the time differs.
 *
 * @example
 * ```ts
 * import { Pods } from "./pods.ts";
 *
 * await using pods = await Pods.open({ whenNoNetwork: "error", owner: "my-engine" });
 * const { ips } = await pods.setUp({
 *   containerId: "3f2a",
 *   name: "web-0",
 *   namespace: "shop",
 *   uid: "8d0d33a6",
 *   netns: "/run/netns/web-0",
 * });
 * console.log(ips, (await pods.podStatus("3f2a")).ready);
 * for (const failure of await pods.tearDown("3f2a")) console.warn(failure.message);
 * ```
 */
export class Pods implements AsyncDisposable {
  readonly #context: PodsContext;

  private constructor(context: PodsContext) {
    this.#context = context;
  }

  /**
   * Reads the configuration directory and starts to watch it. If it is missing, or has no usable network,
   * {@linkcode Pods.status} and the calls that need a network report it.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `permission` or `usage`
   */
  static async open(options: PodsOptions = {}, { signal }: CallOptions = {}): Promise<Pods> {
    return await call({ signal }, async () => new Pods(await openPods(options, { signal })));
  }

  /**
   * Returns the name of the network of a pod that names none. A fixed name is returned even if no network has it.
   *
   * Permissions: `--allow-read` for the configuration directory.
   *
   * @throws {CniError} if the directory cannot be read and has never been read
   */
  async defaultNetwork({ signal }: CallOptions = {}): Promise<string | undefined> {
    return await call({ signal }, async () => (await this.#context.source.current(signal)).defaultName);
  }

  /**
   * Attaches a pod to all of its networks, one after another as the specification requires, or to none: if one fails, those
   * before it are detached again, last first.
   *
   * The namespace, the networks, their plugins and versions, addresses and host ports are validated before anything is
   * done. What an earlier boot or a killed process left is torn down first.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Attachment".
   *
   * @throws {CniError} with the first failure: kind `not-ready` without a default network, `not-found` for an unknown
   * network or a missing namespace, `conflict` for a host port or container ID that is taken
   */
  async setUp(pod: PodRequest, { signal }: CallOptions = {}): Promise<PodResult> {
    return await call({ signal }, () => this.#context.engine.setUp(pod, signal));
  }

  /**
   * Detaches a pod from everything on record, the last attachment first, with the configuration and arguments of each ADD,
   * because the files may have changed or be gone. One failure does not stop the others. Attachments that could not be
   * detached are returned as errors, stay on record and are retried; the caller has nothing else to do. A pod that does not
   * exist counts as success.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Deletion".
   *
   * @throws {CniError} kind `conflict` for a container of another owner; or what could not be detached, if the state
   * directory is full or read-only, so that it cannot be recorded: then the pod stays, and must be torn down again
   */
  async tearDown(
    pod: string | PodToTearDown,
    { signal }: CallOptions = {},
  ): Promise<readonly CniError[]> {
    const target = typeof pod === "string" ? { containerId: pod } : pod;
    return await call({ signal }, () => this.#context.engine.tearDown(target, signal));
  }

  /**
   * Returns whether a pod is as its set-up left it: its namespace, `lo`, and each network by CHECK; and the addresses that
   * its interfaces have now.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Checking".
   *
   * @throws {CniError} kind `not-found`; what is wrong with the pod is reported, not thrown
   */
  async podStatus(containerId: string, { signal }: CallOptions = {}): Promise<PodStatus> {
    return await call({ signal }, () => this.#context.engine.status(containerId, signal));
  }

  /**
   * Removes the attachments that are not in use any more and the namespaces of sandboxes that are gone, and lets the plugins
   * release what belongs to no attachment. All pods on record are in use, unless the request or the option `validPods` says
   * which are. Pods that are set up meanwhile are kept. For attachments of other owners their own rules decide, as for
   * `podwire gc`.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Garbage-collecting a network".
   *
   * @throws {CniError} kind `not-found` for an unknown network; what could not be removed is reported, not thrown
   */
  async gc(request: PodsGcRequest = {}, options: CallOptions = {}): Promise<GcReport> {
    return await this.#context.operations.gc(this.#context.gcRequest(request), options);
  }

  /**
   * Finishes or undoes what a crash or a reboot interrupted, and retries failed removals at once.
   *
   * Permissions: those of the class, and root.
   *
   * @throws {CniError} if the records cannot be read; what could not be removed is reported, not thrown
   */
  async recover(options: RecoverOptions = {}): Promise<RecoveryReport> {
    return await this.#context.operations.recover(options);
  }

  /**
   * Returns whether the networks can attach pods now, and if not, why and since when. It returns the last answer of their
   * plugins, so it never waits for a plugin; with `fresh` it asks them.
   *
   * Permissions: those of the class.
   *
   * Source: CNI specification 1.1.0, section 2 "STATUS".
   *
   * @throws {CniError} kind `not-found` for an unknown network
   */
  async status(
    request: StatusRequest = {},
    options: CallOptions = {},
  ): Promise<readonly NetworkStatus[]> {
    return await this.#context.operations.status(request, options);
  }

  /**
   * Returns the state of each file of the configuration directory.
   *
   * Permissions: `--allow-read` for the configuration directory.
   *
   * @throws {CniError} if the directory cannot be read and has never been read; a bad file is an entry, not an error
   */
  async networks(options: CallOptions = {}): Promise<readonly CatalogEntry[]> {
    return await this.#context.operations.networks(options);
  }

  /**
   * Reads the configuration directory now, without waiting for a change to be noticed, and returns the state of each file.
   *
   * Permissions: `--allow-read` for the configuration directory.
   *
   * @throws {CniError} if the directory cannot be read; then the networks that were read before stay in use
   */
  async reload(options: CallOptions = {}): Promise<readonly CatalogEntry[]> {
    return await this.#context.operations.reload(options);
  }

  /**
   * Returns the attachments on record that match the filter, those that could not be detached included.
   *
   * Permissions: `--allow-read` for the state directory.
   *
   * @throws {CniError} if the records cannot be read
   */
  async attachments(
    filter: AttachmentFilter = {},
    options: CallOptions = {},
  ): Promise<readonly AttachmentRecord[]> {
    return await this.#context.operations.attachments(filter, options);
  }

  /** Calls `listener` with the state of the files after each change of the networks, until disposed of. */
  onNetworks(listener: (entries: readonly CatalogEntry[]) => void): Disposable {
    return this.#context.operations.onNetworks(listener);
  }

  /** Calls `listener` when the readiness of a network, or its reason, changes, until disposed of. */
  onStatus(listener: (status: NetworkStatus) => void): Disposable {
    return this.#context.operations.onStatus(listener);
  }

  /** Stops watching and the timers, and waits for what they have in progress. Calls of others are neither cancelled nor awaited. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.operations[Symbol.asyncDispose]();
  }
}
