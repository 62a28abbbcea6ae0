import { withContainerLock } from "../state/container_locks.ts";
import type { Attachments } from "../attachment/attachments.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogSource } from "../catalog/source.ts";
import { combineResults, type PodResult } from "../pod/pod_result.ts";
import type { PodRequest, WantedNetwork } from "../pod/request.ts";
import { CniError } from "../cni/error.ts";
import { validateContainerId } from "../cni/name.ts";
import { tearDown } from "./tear_down.ts";
import type { PreparedSandbox, SandboxCreator } from "./create.ts";
import type { SandboxContext } from "./context.ts";
import { type PodStatus, podStatus } from "./pod_status.ts";
import type { SandboxRecord } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import { POD_WORDING, type SandboxRequest } from "./request.ts";

/** What becomes of a pod that names no network while the configuration directory has none. */
export const WHEN_NO_NETWORK = ["error", "noop"] as const;

/** One of {@linkcode WHEN_NO_NETWORK}. */
export type WhenNoNetwork = typeof WHEN_NO_NETWORK[number];

/** A pod to tear down. */
export interface PodToTearDown {
  /** The ID that plugins know the pod by. */
  readonly containerId: string;
  /** The path of its network namespace, for what another runtime attached. @default {""} */
  readonly netns?: string | undefined;
  /**
   * What another runtime attached to it, each with its interface: these are detached too, with the configuration of
   * their ADD where libcni's cache has it. @default {[]}
   */
  readonly networks?: readonly (WantedNetwork & { readonly ifName: string })[] | undefined;
  /** Whether of `networks` also interfaces are removed that the cache does not know. @default {false} */
  readonly forceForeign?: boolean | undefined;
}

/** The dependencies of {@linkcode EnginePods}. */
export interface EnginePodsContext extends SandboxContext {
  readonly creator: SandboxCreator;
  readonly store: AttachmentStore;
  readonly attachments: Attachments;
  readonly recovery: Recovery;
  readonly source: CatalogSource;
  /** Answers for the attachments. */
  readonly owner: string;
  readonly whenNoNetwork: WhenNoNetwork;
}

/**
 * The pods of a container engine, which makes their namespaces itself: sandboxes whose names podwire does not
 * reserve, with a record each while they are up.
 */
export class EnginePods {
  readonly #context: EnginePodsContext;

  constructor(context: EnginePodsContext) {
    this.#context = context;
  }

  /** Attaches the pod to all of its networks, or to none. */
  async setUp(request: PodRequest, signal?: AbortSignal): Promise<PodResult> {
    const { recovery, locks } = this.#context;
    const { containerId } = request;
    const wanted = sandboxOf(request);
    await this.#context.creator.checkPermissions(wanted, POD_WORDING);
    // What an earlier boot left must not hold a default network in its place.
    await recovery.beforeFirstAdd(signal);
    const prepared = await this.#prepare(request, wanted, signal);
    return await withContainerLock(locks, containerId, signal, async () => {
      const { networks } = await this.#context.creator.create(prepared, { named: false });
      return combineResults(networks);
    });
  }

  /**
   * Detaches the pod from everything on record; gives what could not be detached, which stays on record as `failed`.
   *
   * @throws {CniError} with the first of these if that could not be written: nobody would try it again
   */
  async tearDown(target: PodToTearDown, signal?: AbortSignal): Promise<readonly CniError[]> {
    const { containerId } = target;
    // Before it becomes the name of a lock file.
    validateContainerId(containerId);
    const { locks, sandboxes, store, pods, log } = this.#context;
    const stop = signal === undefined ? {} : { signal };
    return await withContainerLock(locks, containerId, signal, async () => {
      await store.requireUnderstood(containerId);
      const record = await sandboxes.read(containerId);
      if (record === undefined) {
        const attached = await store.ofContainer(containerId);
        const failures = await pods.tearDown(containerId, stop);
        await this.#requireNoted(containerId, failures);
        await sandboxes.forgetDamaged(containerId);
        return attached.length > 0 ? failures : await this.#detachForeign(target, signal);
      }
      this.#requireOwn(record);
      const doomed = { ...record, phase: "removing" } as const;
      await writeBestEffort(() => sandboxes.write(doomed), log, { sandbox: record.id, phase: doomed.phase });
      const { failures } = await tearDown(record, this.#context, stop);
      await this.#requireNoted(containerId, failures);
      await sandboxes.remove(record);
      return failures;
    });
  }

  /** Looks whether the pod is as its set-up left it. */
  async status(containerId: string, signal?: AbortSignal): Promise<PodStatus> {
    validateContainerId(containerId);
    const { locks, sandboxes } = this.#context;
    return await withContainerLock(locks, containerId, signal, async () => {
      const record = await sandboxes.read(containerId);
      if (record !== undefined) return await podStatus(record, this.#context, signal);
      throw new CniError("not-found", `there is no pod "${containerId}"`);
    });
  }

  /** All that is known to be wrong before anything is done. */
  async #prepare(
    request: PodRequest,
    wanted: SandboxRequest,
    signal: AbortSignal | undefined,
  ): Promise<PreparedSandbox> {
    const { source, whenNoNetwork, owner, log } = this.#context;
    const { name, namespace } = wanted;
    let catalog = await source.current(signal);
    // Somebody may have put the file there a moment ago.
    if (lacks(catalog, request)) catalog = await source.reload(signal);
    if (whenNoNetwork === "error" || !isAnyNetwork(request) || catalog.lists.length > 0) {
      return await this.#context.creator.prepare(wanted, catalog, { owner, signal });
    }
    log.warn("there is no network: the pod gets lo only", {
      container: request.containerId,
      namespace,
      name,
    });
    return await this.#context.creator.prepare(withoutNetworks(request, wanted), catalog, { owner, signal });
  }

  async #detachForeign(target: PodToTearDown, signal?: AbortSignal) {
    const { containerId, netns = "", networks = [], forceForeign = false } = target;
    const { attachments, source, owner } = this.#context;
    const failures: CniError[] = [];
    for (const { name, ifName } of networks.toReversed()) {
      try {
        const list = (await source.current(signal)).forPod(name);
        const request = { containerId, netns, ifName, owner };
        await attachments.del(list, request, { forceForeign, signal });
      } catch (error) {
        signal?.throwIfAborted();
        failures.push(asCniError(error, { verb: "DEL", network: name, containerId, ifName }));
      }
    }
    return failures;
  }

  async #requireNoted(containerId: string, [failure]: readonly CniError[]): Promise<void> {
    if (failure === undefined) return;
    const left = await this.#context.store.ofContainer(containerId);
    if (left.every(({ state }) => state === "failed")) return;
    const hint = "nothing can be written to the state directory: tear the pod down again when that is over";
    throw failure.within({ hint });
  }

  #requireOwn({ id, owner }: SandboxRecord): void {
    if (owner === this.#context.owner) return;
    const whose = owner === undefined ? "a sandbox of its own" : `of another owner, "${owner}"`;
    throw new CniError("conflict", `the container "${id}" is ${whose}`, {
      hint: "`podwire ps` lists the sandboxes, `podwire rm` removes one",
    });
  }
}

function sandboxOf({ containerId: id, netns: path, ...pod }: PodRequest): SandboxRequest {
  return { ...pod, id, source: { kind: "path", path } };
}

/** What is left of a request when there is nothing to attach it to. */
function withoutNetworks(
  { name, namespace, uid, attempt, annotations = {} }: PodRequest,
  { id, source }: SandboxRequest,
): SandboxRequest {
  return { id, source, name, namespace, uid, attempt, annotations, networks: "none" };
}

function isAnyNetwork({ networks = [] }: PodRequest): boolean {
  return networks !== "none" && networks.length === 0;
}

/** Whether the catalogue does not have what the request asks for. */
function lacks(catalog: Catalog, request: PodRequest): boolean {
  const { networks = [] } = request;
  if (networks === "none") return false;
  try {
    if (isAnyNetwork(request)) catalog.default();
    for (const { name } of networks) catalog.forPod(name);
    return false;
  } catch {
    return true;
  }
}
