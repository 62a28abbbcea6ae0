import type { Lock } from "../host/lock.ts";
import { withContainerLock } from "../state/container_locks.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { networksOf, type PodNetwork } from "../pod/pod.ts";
import { type CniError, isCniError } from "../cni/error.ts";
import { tearDown } from "./tear_down.ts";
import { validateLabels } from "./validate_labels.ts";
import type { SandboxCreator } from "./create.ts";
import { validateName } from "./validate_name.ts";
import { isUnchanged } from "./netns_identity.ts";
import type { SandboxContext } from "./context.ts";
import type { Durability } from "./name_index.ts";
import { isInTransition, type SandboxNetns, type SandboxRecord } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import type { SandboxRequest } from "./request.ts";
import { type Sandbox, toSandbox } from "./view.ts";

/** The namespace in which spares are called `pool-…` until they are somebody's. */
export const POOL_NAMESPACE = "podwire-pool";
/** The label of a spare: its network. */
export const POOL_LABEL = "podwire.pool";

const IF_NAME = "eth0";

/**
 * What is written when a spare is handed out need not outlive a loss of power: the sandbox does not. After the restart
 * its attachment, of which the record was synced before any plugin ran, is detached as that of another boot, whichever
 * record of the sandbox is there: that of the spare, whose pool is nobody's; the new one, with or without its name; or
 * none that can be read. Whoever is killed leaves what it has written to those who read it next, synced or not.
 */
const OF_THIS_BOOT: Durability = { durable: false };

/** A sandbox that was made for whoever wants one on its network. */
export interface WarmSandbox {
  readonly id: string;
  readonly network: string;
  /** The effective configuration that it was attached with. */
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
 * Sandboxes that are ready before they are asked for. They belong to the process that made them as long as that holds
 * the lock of its pool; afterwards they are nobody's, and recovery takes them down.
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

  /** Takes the lock of a new pool. */
  static async open(context: WarmSandboxesContext): Promise<WarmSandboxes> {
    const { locks } = context;
    await locks.pools.removeAbandoned();
    const pool = crypto.randomUUID();
    return new WarmSandboxes(context, pool, await locks.pools.lock(pool));
  }

  /**
   * The network of the spare that would do for the request: it asks for that one only, and for nothing that has to be
   * known when a sandbox is made.
   */
  async networkOf(request: SandboxRequest): Promise<string | undefined> {
    return warmNetworkOf(request, await this.#context.catalog(request.signal));
  }

  /**
   * Makes one.
   *
   * @throws {CniError} with what failed first; then nothing is left
   */
  async make(network: string, signal: AbortSignal): Promise<WarmSandbox> {
    const { recovery, locks, catalog } = this.#context;
    const id = crypto.getRandomValues(new Uint8Array(16)).toHex();
    const request: SandboxRequest = {
      id,
      name: `pool-${id.slice(0, 12)}`,
      namespace: POOL_NAMESPACE,
      labels: { [POOL_LABEL]: network },
      networks: [{ name: network, ifName: IF_NAME }],
      signal,
    };
    return await withCniErrors(async () => {
      await recovery.beforeFirstAdd(signal);
      const now = await catalog(signal);
      const config = now.get(network).text;
      const prepared = await this.#context.creator.prepare(request, now);
      const record = { ...prepared.record, pool: this.#pool };
      const { record: { netns } } = await withContainerLock(
        locks,
        id,
        signal,
        // Nobody else is called as its ID.
        () => this.#context.creator.create({ ...prepared, record }, { named: false }),
      );
      return { id, network, config, netns };
    });
  }

  /** Whether it can still be handed out. */
  async isIntact(spare: WarmSandbox): Promise<boolean> {
    return await this.#find(spare) !== undefined;
  }

  /**
   * Makes a spare the sandbox that was asked for; undefined if it is not as it was made.
   *
   * Its record is written once, with its new name. The name is reserved before: while that names a sandbox which is
   * called otherwise, nobody is found by it.
   *
   * @throws {CniError} kind `conflict` if the name is taken; then the spare is as it was
   */
  async handOut(spare: WarmSandbox, request: SandboxRequest): Promise<Sandbox | undefined> {
    const { id } = spare;
    const { name = `sandbox-${id.slice(0, 12)}`, namespace = "default", labels = {}, signal } = request;
    const { locks } = this.#context;
    return await withCniErrors(async () => {
      validateName("sandbox name", name);
      validateName("namespace", namespace);
      validateLabels(labels);
      let begun: SandboxRecord | undefined;
      try {
        return await withContainerLock(locks, id, signal, async () => {
          const found = await this.#find(spare, request);
          if (found === undefined) return undefined;
          const { pool: _, ...rest } = found.record;
          const next = { ...rest, name, namespace, labels, createdAt: new Date().toISOString() };
          using _names = await locks.machine.names(signal);
          signal?.throwIfAborted();
          begun = next;
          await this.#rename(next);
          signal?.throwIfAborted();
          return toSandbox(next, found.networks);
        });
      } catch (error) {
        if (begun !== undefined && !isCniError(error, "conflict")) await this.#undo(begun);
        throw error;
      }
    });
  }

  /** The caller holds the lock over the names. */
  async #rename(next: SandboxRecord): Promise<void> {
    const { sandboxes } = this.#context;
    await sandboxes.reserve(next, OF_THIS_BOOT);
    await sandboxes.write(next, OF_THIS_BOOT);
  }

  /** Takes down what could not be handed out to its end; the disk may have taken the new name and not the record. */
  async #undo(next: SandboxRecord): Promise<void> {
    const { locks, sandboxes } = this.#context;
    await withContainerLock(locks, next.id, undefined, async () => {
      if (await sandboxes.read(next.id) !== undefined) await this.#dismantle(next);
      else await sandboxes.remove(next);
    });
  }

  /** Takes one down, if it is still one; gives what could not be, which stays among the attachments. */
  async takeDown({ id }: WarmSandbox): Promise<readonly CniError[]> {
    const { locks, sandboxes } = this.#context;
    return await withCniErrors(() =>
      withContainerLock(locks, id, undefined, async () => {
        const record = await sandboxes.read(id);
        return record?.pool === this.#pool ? await this.#dismantle(record) : [];
      })
    );
  }

  /** Gives up the lock: what is still there is nobody's from now on. */
  async [Symbol.asyncDispose](): Promise<void> {
    using lock = this.#lock;
    await lock.remove();
  }

  async #dismantle(record: SandboxRecord): Promise<readonly CniError[]> {
    const { sandboxes, running, log } = this.#context;
    if (isInTransition(record.phase)) await running.endAbandonedOf(record.id);
    const doomed = { ...record, phase: "removing" as const };
    await writeBestEffort(() => sandboxes.write(doomed), log, { sandbox: record.id, phase: doomed.phase });
    const { failures } = await tearDown(doomed, this.#context);
    await sandboxes.remove(doomed);
    return failures;
  }

  /** What is on record of it, if all is as it was when it was made, and fits the request now. */
  async #find(
    { id, network, config, netns }: WarmSandbox,
    request?: SandboxRequest,
  ): Promise<{ readonly record: SandboxRecord; readonly networks: readonly PodNetwork[] } | undefined> {
    const { sandboxes, store, catalog, attachments } = this.#context;
    const now = await catalog(request?.signal);
    if (!now.lists.some(({ name }) => name === network) || now.get(network).text !== config) return undefined;
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

/** As {@linkcode WarmSandboxes.networkOf}. Members of a request that nobody has thought of here ask for something else. */
export function warmNetworkOf(request: SandboxRequest, catalog: Catalog): string | undefined {
  const { name: _name, namespace: _namespace, labels: _labels, signal: _signal, uniqueName: _, ...rest } =
    request;
  const { networks = [], source = { kind: "new" }, ...more } = rest;
  if (source.kind !== "new" || networks === "none" || networks.length > 1) return undefined;
  const [wanted] = networks;
  const { name: network, ifName = IF_NAME, ...settings } = wanted ?? { name: defaultOf(catalog) };
  const asksMore = [...Object.values(more), ...Object.values(settings)].some((value) => !isNothing(value));
  return asksMore || ifName !== IF_NAME ? undefined : network;
}

/** That there is none is for the ordinary way to say. */
function defaultOf(catalog: Catalog): string | undefined {
  const { defaultName } = catalog;
  return catalog.lists.some(({ name }) => name === defaultName) ? defaultName : undefined;
}

function isNothing(value: unknown): boolean {
  if (value === undefined || value === false) return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
