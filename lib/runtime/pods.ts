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
 * The networks of a container engine's pods: many networks, many pods, a configuration directory that changes
 * under its feet, plugins that hang, and processes that are killed.
 *
 * While it is open it watches the directories, asks the networks whether they are ready, and tries again what could
 * not be detached. Operations on one container run one after another, across processes; those on different ones at
 * the same time.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directories of the options, `--allow-run` for iproute2,
 * util-linux and the plugins; what changes namespaces needs root. No environment variable is read.
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
   * Reads the configuration directory and begins to watch it. One that is missing, or has no usable network, is
   * told by {@linkcode Pods.status} and by the calls that need one.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `permission` or `usage`
   */
  static async open(options: PodsOptions = {}, { signal }: CallOptions = {}): Promise<Pods> {
    return await call({ signal }, async () => new Pods(await openPods(options, { signal })));
  }

  /**
   * The name of the network that a pod gets which names none; with a fixed name it need not be there.
   *
   * Permissions: `--allow-read` for the configuration directory.
   *
   * @throws {CniError} if the directory cannot be read and never could
   */
  async defaultNetwork({ signal }: CallOptions = {}): Promise<string | undefined> {
    return await call({ signal }, async () => (await this.#context.source.current(signal)).defaultName);
  }

  /**
   * Attaches a pod to all of its networks, one after another as the specification demands, or to none: when one
   * fails, those before it are detached again, last first.
   *
   * Everything is looked up and validated before anything is done: the namespace, the networks, their plugins and
   * versions, addresses, host ports. What an earlier boot or a killed process left is torn down first.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Attachment".
   *
   * @throws {CniError} with what failed first: kind `not-ready` without a default network, `not-found` for an unknown
   * one or a missing namespace, `conflict` for a host port or container ID that is taken
   */
  async setUp(pod: PodRequest, { signal }: CallOptions = {}): Promise<PodResult> {
    return await call({ signal }, () => this.#context.engine.setUp(pod, signal));
  }

  /**
   * Detaches a pod from everything on record, the last attachment first, with the configuration and arguments of
   * each ADD: the files may have changed or be gone. One failure does not stop the others. What could not be
   * detached is given back, stays on record and is tried again; nothing else is to be done about it. A pod that is
   * not there is fine.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Deletion".
   *
   * @throws {CniError} kind `conflict` for a container that is not this owner's; or what could not be detached, if a
   * state directory that is full or read-only does not take that down: then the pod stays, to be torn down again
   */
  async tearDown(
    pod: string | PodToTearDown,
    { signal }: CallOptions = {},
  ): Promise<readonly CniError[]> {
    const target = typeof pod === "string" ? { containerId: pod } : pod;
    return await call({ signal }, () => this.#context.engine.tearDown(target, signal));
  }

  /**
   * Looks whether a pod is as its set-up left it: its namespace, `lo`, and each network by CHECK; and shows the
   * addresses that its interfaces have now.
   *
   * Permissions: those of the class, and root.
   *
   * Source: CNI specification 1.1.0, section 3 "Checking".
   *
   * @throws {CniError} kind `not-found`; what is wrong with the pod is told, not thrown
   */
  async podStatus(containerId: string, { signal }: CallOptions = {}): Promise<PodStatus> {
    return await call({ signal }, () => this.#context.engine.status(containerId, signal));
  }

  /**
   * Removes the attachments that nobody owns any more and the namespaces of sandboxes that are gone, and lets the
   * plugins release what belongs to none. Pods on record count as there, unless the request or the option
   * `validPods` says which are. Pods that are set up meanwhile are kept. What other owners made is judged by their
   * own rules, as `podwire gc` does.
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
   * Finishes or undoes what a crash or a reboot interrupted, and retries failed removals without waiting for their
   * time.
   *
   * Permissions: those of the class, and root.
   *
   * @throws {CniError} if the records cannot be read; what could not be removed is reported, not thrown
   */
  async recover(options: RecoverOptions = {}): Promise<RecoveryReport> {
    return await this.#context.operations.recover(options);
  }

  /**
   * Whether the networks can attach pods now, and if not why, and since when. The answer is the one of the last
   * time that their plugins were asked, so it never waits for a plugin; `fresh` asks them.
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
   * What became of each file of the configuration directory.
   *
   * Permissions: `--allow-read` for the configuration directory.
   *
   * @throws {CniError} if the directory cannot be read and never could; a bad file is an entry, not an error
   */
  async networks(options: CallOptions = {}): Promise<readonly CatalogEntry[]> {
    return await this.#context.operations.networks(options);
  }

  /**
   * Reads the configuration directory now instead of when a change is noticed, and gives what became of its files.
   *
   * Permissions: `--allow-read` for the configuration directory.
   *
   * @throws {CniError} if the directory cannot be read; then what was read before stays in force
   */
  async reload(options: CallOptions = {}): Promise<readonly CatalogEntry[]> {
    return await this.#context.operations.reload(options);
  }

  /**
   * All attachments on record, those among them that could not be detached too.
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

  /** Calls `listener` with what became of the files after each change of the networks, until disposed of. */
  onNetworks(listener: (entries: readonly CatalogEntry[]) => void): Disposable {
    return this.#context.operations.onNetworks(listener);
  }

  /** Calls `listener` when a network becomes ready or ceases to be, or for another reason; until disposed of. */
  onStatus(listener: (status: NetworkStatus) => void): Disposable {
    return this.#context.operations.onStatus(listener);
  }

  /** Ends the watching, the timers and what they have under way. Calls of others are neither cut short nor awaited. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.operations[Symbol.asyncDispose]();
  }
}
