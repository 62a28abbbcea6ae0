import type { Attachments } from "../attachment/attachments.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogSource } from "../catalog/source.ts";
import { CniError } from "../cni/error.ts";
import { validateContainerId } from "../cni/name.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { combineResults, type PodResult } from "../pod/pod_result.ts";
import { type PodRequest, type WantedNetwork, withoutNetworks } from "../pod/request.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxContext } from "./context.ts";
import type { PreparedSandbox, SandboxCreator } from "./create.ts";
import { type PodStatus, podStatus } from "./pod_status.ts";
import type { SandboxRecord } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import { POD_WORDING, type SandboxRequest } from "./request.ts";
import { tearDown } from "./tear_down.ts";
import { writePhase } from "./write_phase.ts";

/** What happens to a pod that requests no network by name while the configuration directory has none. */
export const WHEN_NO_NETWORK = ["error", "noop"] as const;

/** One of {@linkcode WHEN_NO_NETWORK}. */
export type WhenNoNetwork = typeof WHEN_NO_NETWORK[number];

/** A pod to tear down. */
export interface PodToTearDown {
  /** Container ID that plugins get. */
  readonly containerId: string;
  /** Path of its network namespace, for attachments of another runtime. @default {""} */
  readonly netns?: string | undefined;
  /**
   * Networks that another runtime attached, each with its interface. They are detached too, with the configuration of their
   * ADD if libcni's cache has it. @default {[]}
   */
  readonly networks?: readonly (WantedNetwork & { readonly ifName: string })[] | undefined;
  /** Whether interfaces of `networks` are also removed if the cache does not have them. @default {false} */
  readonly forceForeign?: boolean | undefined;
}

/** The dependencies of {@linkcode EnginePods}. */
export interface EnginePodsContext extends SandboxContext {
  readonly creator: SandboxCreator;
  readonly store: AttachmentStore;
  readonly attachments: Attachments;
  readonly recovery: Recovery;
  readonly source: CatalogSource;
  /** Owner of the attachments. */
  readonly owner: string;
  readonly whenNoNetwork: WhenNoNetwork;
}

/**
 * The pods of a container engine that creates the namespaces itself. A pod is a sandbox whose name is not reserved and that
 * has a record only while it is up.
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
    this.#context.creator.checkPermissions(wanted, POD_WORDING);
    // A sandbox of an earlier boot could still hold the addresses that the new one needs.
    await recovery.beforeFirstAdd(signal);
    const prepared = await this.#prepare(request, wanted, signal);
    await using _lock = await locks.containers.hold(containerId, signal);
    const { networks } = await this.#context.creator.create(prepared, { named: false });
    return combineResults(networks);
  }

  /**
   * Detaches the pod from everything on record. Returns the failures; what could not be detached stays on record as `failed`.
   *
   * @throws {CniError} with the first failure if it could not be written, because then nothing would retry it
   */
  async tearDown(target: PodToTearDown, signal?: AbortSignal): Promise<readonly CniError[]> {
    const { containerId } = target;
    // Validated before it becomes the name of a lock file.
    validateContainerId(containerId);
    const { locks, sandboxes, store, pods } = this.#context;
    await using _lock = await locks.containers.hold(containerId, signal);
    await store.requireUnderstood(containerId);
    const record = await sandboxes.read(containerId);
    if (record === undefined) {
      const attached = await store.ofContainer(containerId);
      const failures = await pods.tearDown(containerId, { signal });
      await this.#requireRecorded(containerId, failures);
      await sandboxes.forgetDamaged(containerId);
      return attached.length > 0 ? failures : await this.#detachForeign(target, signal);
    }
    this.#requireOwn(record);
    await writePhase({ ...record, phase: "removing" }, this.#context);
    const { failures } = await tearDown(record, this.#context, { signal });
    await this.#requireRecorded(containerId, failures);
    await sandboxes.remove(record);
    return failures;
  }

  /** Checks whether the pod is as its set-up left it. */
  async status(containerId: string, signal?: AbortSignal): Promise<PodStatus> {
    validateContainerId(containerId);
    const { locks, sandboxes } = this.#context;
    await using _lock = await locks.containers.hold(containerId, signal);
    const record = await sandboxes.read(containerId);
    if (record !== undefined) return await podStatus(record, this.#context, signal);
    throw new CniError("not-found", `there is no pod "${containerId}"`);
  }

  /** Looks up and validates everything that can be checked before anything is done. */
  async #prepare(
    request: PodRequest,
    wanted: SandboxRequest,
    signal: AbortSignal | undefined,
  ): Promise<PreparedSandbox> {
    const { source, whenNoNetwork, owner, log } = this.#context;
    const { name, namespace } = wanted;
    let catalog = await source.current(signal);
    // The file may have been added a moment ago.
    if (lacksNetworks(catalog, request)) catalog = await source.reload(signal);
    if (whenNoNetwork === "error" || !isAnyNetwork(request) || catalog.lists.length > 0) {
      return await this.#context.creator.prepare(wanted, catalog, { owner, signal });
    }
    log.warn("there is no network: the pod gets lo only", {
      container: request.containerId,
      namespace,
      name,
    });
    return await this.#context.creator.prepare(withoutNetworks(wanted), catalog, { owner, signal });
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

  async #requireRecorded(containerId: string, [failure]: readonly CniError[]): Promise<void> {
    if (failure === undefined) return;
    const left = await this.#context.store.ofContainer(containerId);
    if (left.every(({ state }) => state === "failed")) return;
    const hint = "the state directory cannot be written: tear the pod down again when it can be";
    throw failure.within({ hint });
  }

  #requireOwn({ id, owner }: SandboxRecord): void {
    if (owner === this.#context.owner) return;
    const what = owner === undefined ? "a sandbox of its own" : `of another owner, "${owner}"`;
    throw new CniError("conflict", `the container "${id}" is ${what}`, {
      hint: "`podwire ps` lists the sandboxes, `podwire rm` removes one",
    });
  }
}

function sandboxOf({ containerId: id, netns: path, ...pod }: PodRequest): SandboxRequest {
  return { ...pod, id, source: { kind: "path", path } };
}

function isAnyNetwork({ networks = [] }: PodRequest): boolean {
  return networks !== "none" && networks.length === 0;
}

/** Whether the catalog lacks a network that the request needs. */
function lacksNetworks(catalog: Catalog, request: PodRequest): boolean {
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
