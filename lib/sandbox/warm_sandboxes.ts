import type { CallOptions } from "../async/call_options.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { type CniError, isCniError } from "../cni/error.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import type { Lock } from "../host/lock.ts";
import { networksOf, type PodNetwork } from "../pod/pod_network.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxCreator } from "./create.ts";
import { putInside } from "./inside.ts";
import type { Durability } from "./name_index.ts";
import { isUnchanged } from "./netns_identity.ts";
import { isInTransition, type SandboxNetns, type SandboxRecord, warmName } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import { generatedName, type SandboxRequest } from "./request.ts";
import { tearDown } from "./tear_down.ts";
import { validateLabels } from "./validate_labels.ts";
import { validateName } from "./validate_name.ts";
import { type Sandbox, toSandbox } from "./view.ts";
import { writePhase } from "./write_phase.ts";

/** Namespace of warm sandboxes, which have the name `pool-…` until they are claimed. */
export const POOL_NAMESPACE = "podwire-pool";
/** Label of a warm sandbox; its value is the network. */
const POOL_LABEL = "podwire.pool";

const IF_NAME = "eth0";

/**
 * What a claim writes does not have to survive a loss of power, because the sandbox does not survive it either. The record
 * of the attachment was synced before any plugin ran, so after the restart the attachment is detached as one of another
 * boot. This holds for each record of the sandbox that may be there: that of the warm sandbox, whose pool has no process;
 * the new one, with or without its name; or none that can be read. A process that is killed loses nothing that it wrote,
 * synced or not: the next reader sees it.
 */
const OF_THIS_BOOT: Durability = { durable: false };

/** A sandbox that was created before a request for its network. */
export interface WarmSandbox {
  readonly id: string;
  readonly network: string;
  /** The effective configuration of its ADD. */
  readonly config: string;
  readonly netns: SandboxNetns;
}

/** The dependencies of {@linkcode WarmSandboxes}. */
export interface WarmSandboxesContext extends SandboxContext {
  readonly creator: SandboxCreator;
  readonly recovery: Recovery;
  readonly store: AttachmentStore;
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
}

/**
 * Sandboxes that are ready before they are requested. They belong to the process that created them as long as it holds the
 * lock of its pool. When the lock is released, recovery tears them down.
 */
export class WarmSandboxes implements AsyncDisposable {
  readonly #context: WarmSandboxesContext;
  readonly #pool: string;
  readonly #lock: Lock;

  private constructor(context: WarmSandboxesContext, pool: string, lock: Lock) {
    this.#context = context;
    this.#pool = pool;
    this.#lock = lock;
  }

  /** Creates a pool and takes its lock. */
  static async open(context: WarmSandboxesContext): Promise<WarmSandboxes> {
    const { locks } = context;
    await locks.pools.removeAbandoned();
    const pool = crypto.randomUUID();
    return new WarmSandboxes(context, pool, await locks.pools.lock(pool));
  }

  /**
   * Returns the network of the warm sandboxes that fit the request; undefined if none fit. The request must want that network
   * only, and nothing that has to be known when a sandbox is created.
   */
  async networkOf(request: SandboxRequest, { signal }: CallOptions = {}): Promise<string | undefined> {
    return warmNetworkOf(request, await this.#context.catalog(signal));
  }

  /**
   * Creates a warm sandbox.
   *
   * @throws {CniError} with the first failure; then nothing is left
   */
  async make(network: string, signal: AbortSignal): Promise<WarmSandbox> {
    const { recovery, locks, catalog } = this.#context;
    const id = crypto.getRandomValues(new Uint8Array(16)).toHex();
    const request: SandboxRequest = {
      id,
      name: warmName(id),
      namespace: POOL_NAMESPACE,
      labels: { [POOL_LABEL]: network },
      networks: [{ name: network, ifName: IF_NAME }],
    };
    return await withCniErrors(async () => {
      await recovery.beforeFirstAdd(signal);
      const now = await catalog(signal);
      const config = now.forPod(network).text;
      const prepared = await this.#context.creator.prepare(request, now, { signal });
      const record = { ...prepared.record, pool: this.#pool };
      await using _lock = await locks.containers.hold(id, signal);
      // Its name comes from its ID, so no other sandbox has it.
      const { record: { netns } } = await this.#context.creator.create({ ...prepared, record }, {
        named: false,
      });
      return { id, network, config, netns };
    });
  }

  /** Whether it can still be claimed. */
  async isIntact(warm: WarmSandbox): Promise<boolean> {
    return await this.#findIntact(warm) !== undefined;
  }

  /**
   * Makes the requested sandbox of a warm one; returns undefined if it has changed since its creation.
   *
   * Its record is written once, with its new name. The name is reserved before that: while the reserved name and the name in
   * the record differ, no sandbox is found by it.
   *
   * @throws {CniError} kind `conflict` if the name is taken; then the warm sandbox stays as it was
   */
  async claim(
    warm: WarmSandbox,
    request: SandboxRequest,
    { signal }: CallOptions = {},
  ): Promise<Sandbox | undefined> {
    const { id } = warm;
    const { name = generatedName(id), namespace = "default", labels = {} } = request;
    const { locks } = this.#context;
    return await withCniErrors(async () => {
      validateName("sandbox name", name);
      validateName("namespace", namespace);
      validateLabels(labels);
      let begun: SandboxRecord | undefined;
      try {
        await using _lock = await locks.containers.hold(id, signal);
        const found = await this.#findIntact(warm, request, signal);
        if (found === undefined) return undefined;
        const { pool: _, ...rest } = found.record;
        const next = { ...rest, name, namespace, labels, createdAt: new Date().toISOString() };
        {
          using _names = await locks.machine.names(signal);
          signal?.throwIfAborted();
          begun = next;
          await this.#rename(next);
          signal?.throwIfAborted();
        }
        await putInside(next, this.#context);
        return toSandbox(next, found.networks, this.#context);
      } catch (error) {
        if (begun !== undefined && !isCniError(error, "conflict")) await this.#undo(begun);
        throw error;
      }
    });
  }

  /** Reserves the new name and writes the record. The caller holds the lock of the names. */
  async #rename(next: SandboxRecord): Promise<void> {
    const { sandboxes } = this.#context;
    await sandboxes.reserve(next, OF_THIS_BOOT);
    await sandboxes.write(next, OF_THIS_BOOT);
  }

  /** Tears down a sandbox whose claim failed halfway. The disk may have the new name but not the record. */
  async #undo(next: SandboxRecord): Promise<void> {
    const { locks, sandboxes } = this.#context;
    await using _lock = await locks.containers.hold(next.id);
    if (await sandboxes.read(next.id) !== undefined) await this.#tearDown(next);
    else await sandboxes.remove(next);
  }

  /** Tears down a sandbox that is still warm. Returns the failures; what could not be detached stays among the attachments. */
  async tearDown({ id }: WarmSandbox): Promise<readonly CniError[]> {
    const { locks, sandboxes } = this.#context;
    return await withCniErrors(async () => {
      await using _lock = await locks.containers.hold(id);
      const record = await sandboxes.read(id);
      return record?.pool === this.#pool ? await this.#tearDown(record) : [];
    });
  }

  /** Releases the lock of the pool: recovery may tear down the warm sandboxes that are left. */
  async [Symbol.asyncDispose](): Promise<void> {
    using lock = this.#lock;
    await lock.remove();
  }

  async #tearDown(record: SandboxRecord): Promise<readonly CniError[]> {
    const { sandboxes, running } = this.#context;
    if (isInTransition(record.phase)) await running.endAbandonedOf(record.id);
    const removing = { ...record, phase: "removing" as const };
    await writePhase(removing, this.#context);
    const { failures } = await tearDown(removing, this.#context);
    await sandboxes.remove(removing);
    return failures;
  }

  /** Returns what is on record of it if nothing has changed since its creation and it fits the request. */
  async #findIntact(
    { id, network, config, netns }: WarmSandbox,
    request?: SandboxRequest,
    signal?: AbortSignal,
  ): Promise<{ readonly record: SandboxRecord; readonly networks: readonly PodNetwork[] } | undefined> {
    const { sandboxes, store, catalog, attachments } = this.#context;
    const now = await catalog(signal);
    if (!now.lists.some(({ name }) => name === network) || now.forPod(network).text !== config) {
      return undefined;
    }
    if (request !== undefined && warmNetworkOf(request, now) !== network) return undefined;
    const [record, attachment, boot, isThere] = await Promise.all([
      sandboxes.read(id),
      store.readSole({ containerId: id, network, ifName: IF_NAME }),
      attachments.boot(),
      isUnchanged(netns),
    ]);
    if (record?.pool !== this.#pool || record.phase !== "ready" || record.bootId !== boot) return undefined;
    if (!isThere || record.netns.path !== netns.path || record.netns.id !== netns.id) return undefined;
    if (attachment?.state !== "attached" || attachment.netnsId !== netns.id) return undefined;
    return { record, networks: networksOf([attachment]) };
  }
}

/** As {@linkcode WarmSandboxes.networkOf}. A member of the request that is not listed here excludes a warm sandbox. */
export function warmNetworkOf(request: SandboxRequest, catalog: Catalog): string | undefined {
  const { name: _name, namespace: _namespace, labels: _labels, uniqueName: _, ...rest } = request;
  const { networks = [], source = { kind: "new" }, ...more } = rest;
  if (source.kind !== "new" || networks === "none" || networks.length > 1) return undefined;
  const [wanted] = networks;
  const { name: network, ifName = IF_NAME, ...settings } = wanted ?? { name: defaultOf(catalog) };
  const wantsMore = [...Object.values(more), ...Object.values(settings)].some((value) => !isNothing(value));
  return wantsMore || ifName !== IF_NAME ? undefined : network;
}

/** Returns undefined if there is no default network; creating the sandbox in the ordinary way then reports that. */
function defaultOf(catalog: Catalog): string | undefined {
  const { defaultName } = catalog;
  return catalog.lists.some(({ name }) => name === defaultName) ? defaultName : undefined;
}

function isNothing(value: unknown): boolean {
  if (value === undefined || value === false) return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
