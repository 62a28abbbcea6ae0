import type { Lock } from "../host/lock.ts";
import { withContainerLock } from "../network/container_lock.ts";
import { noteIfPossible } from "../network/note.ts";
import type { AttachmentStore } from "../network/record.ts";
import { reported } from "../plugin/failure.ts";
import type { Catalog } from "../pod/catalog.ts";
import { networksOf, type PodNetwork } from "../pod/pod.ts";
import { type CniError, isCniError } from "../spec/error.ts";
import { dismantle } from "./dismantle.ts";
import { validateLabels } from "./label.ts";
import { SandboxMaking } from "./making.ts";
import { validateName } from "./name.ts";
import { isUnchanged } from "./netns_identity.ts";
import type { SandboxParts } from "./parts.ts";
import type { Durability } from "./names.ts";
import type { SandboxNetns, SandboxRecord } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import type { SandboxRequest } from "./request.ts";
import { type Sandbox, shownSandbox } from "./view.ts";

/** The namespace in which spares are called `pool-…` until they are somebody's. */
export const SPARE_NAMESPACE = "podwire-pool";
/** The label of a spare: its network. */
export const SPARE_LABEL = "podwire.pool";

const IF_NAME = "eth0";

/**
 * What is written when a spare is handed out need not outlive a loss of power: the sandbox does not. After the restart
 * its attachment, of which the record was synced before any plugin ran, is detached as that of another boot, whichever
 * record of the sandbox is there: that of the spare, whose pool is nobody's; the new one, with or without its name; or
 * none that can be read. Whoever is killed leaves what it has written to those who read it next, synced or not.
 */
const OF_THIS_BOOT: Durability = { durable: false };

/** A sandbox that was made for whoever wants one on its network. */
export interface Spare {
  readonly id: string;
  readonly network: string;
  /** The effective configuration that it was attached with. */
  readonly config: string;
  readonly netns: SandboxNetns;
}

/** The parts that {@linkcode Spares} works with. */
export interface SparesOptions extends SandboxParts {
  readonly recovery: Recovery;
  readonly store: AttachmentStore;
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
}

/**
 * Sandboxes that are ready before they are asked for. They belong to the process that made them as long as that holds
 * the lock of its pool; afterwards they are nobody's, and recovery takes them down.
 */
export class Spares implements AsyncDisposable {
  readonly #options: SparesOptions;
  readonly #making: SandboxMaking;
  readonly #pool: string;
  readonly #lock: Lock;

  private constructor(options: SparesOptions, pool: string, lock: Lock) {
    this.#options = options;
    this.#making = new SandboxMaking(options);
    this.#pool = pool;
    this.#lock = lock;
  }

  /** Takes the lock of a new pool. */
  static async open(options: SparesOptions): Promise<Spares> {
    const { locks } = options;
    await locks.sweepPools();
    const pool = crypto.randomUUID();
    return new Spares(options, pool, await locks.pool(pool));
  }

  /**
   * The network of the spare that would do for the request: it asks for that one only, and for nothing that has to be
   * known when a sandbox is made.
   */
  async networkOf(request: SandboxRequest): Promise<string | undefined> {
    return spareNetworkOf(request, await this.#options.catalog(request.signal));
  }

  /**
   * Makes one.
   *
   * @throws {CniError} with what failed first; then nothing is left
   */
  async make(network: string, signal: AbortSignal): Promise<Spare> {
    const { recovery, locks, catalog } = this.#options;
    const id = crypto.getRandomValues(new Uint8Array(16)).toHex();
    const request: SandboxRequest = {
      id,
      name: `pool-${id.slice(0, 12)}`,
      namespace: SPARE_NAMESPACE,
      labels: { [SPARE_LABEL]: network },
      networks: [{ name: network, ifName: IF_NAME }],
      signal,
    };
    return await reported(async () => {
      await recovery.beforeFirstAdd(signal);
      const now = await catalog(signal);
      const config = now.get(network).text;
      const prepared = await this.#making.prepare(request, now);
      const record = { ...prepared.record, pool: this.#pool };
      const { netns } = await withContainerLock(
        locks,
        id,
        signal,
        // Nobody else is called as its ID.
        () => this.#making.make({ ...prepared, record }, { named: false }),
      );
      return { id, network, config, netns };
    });
  }

  /** Whether it can still be handed out. */
  async isIntact(spare: Spare): Promise<boolean> {
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
  async handOut(spare: Spare, request: SandboxRequest): Promise<Sandbox | undefined> {
    const { id } = spare;
    const { name = `sandbox-${id.slice(0, 12)}`, namespace = "default", labels = {}, signal } = request;
    const { locks } = this.#options;
    return await reported(async () => {
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
          using _names = await locks.names(signal);
          signal?.throwIfAborted();
          begun = next;
          await this.#rename(next);
          signal?.throwIfAborted();
          return shownSandbox(next, found.networks);
        });
      } catch (error) {
        if (begun !== undefined && !isCniError(error, "conflict")) await this.#undo(begun);
        throw error;
      }
    });
  }

  /** The caller holds the lock over the names. */
  async #rename(next: SandboxRecord): Promise<void> {
    const { sandboxes } = this.#options;
    await sandboxes.reserve(next, OF_THIS_BOOT);
    await sandboxes.write(next, OF_THIS_BOOT);
  }

  /** Takes down what could not be handed out to its end; the disk may have taken the new name and not the record. */
  async #undo(next: SandboxRecord): Promise<void> {
    const { locks, sandboxes } = this.#options;
    await withContainerLock(locks, next.id, undefined, async () => {
      if (await sandboxes.read(next.id) !== undefined) await this.#dismantle(next);
      else await sandboxes.remove(next);
    });
  }

  /** Takes one down, if it is still one; gives what could not be, which stays among the attachments. */
  async takeDown({ id }: Spare): Promise<readonly CniError[]> {
    const { locks, sandboxes } = this.#options;
    return await reported(() =>
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
    const { sandboxes, running, log } = this.#options;
    if (record.phase !== "ready") await running.endAbandonedOf(record.id);
    const doomed = { ...record, phase: "removing" as const };
    await noteIfPossible(() => sandboxes.write(doomed), log, { sandbox: record.id, phase: doomed.phase });
    const { failures } = await dismantle(doomed, this.#options);
    await sandboxes.remove(doomed);
    return failures;
  }

  /** What is on record of it, if all is as it was when it was made, and fits the request now. */
  async #find(
    { id, network, config, netns }: Spare,
    request?: SandboxRequest,
  ): Promise<{ readonly record: SandboxRecord; readonly networks: readonly PodNetwork[] } | undefined> {
    const { sandboxes, store, catalog, attachments } = this.#options;
    const now = await catalog(request?.signal);
    if (!now.lists.some(({ name }) => name === network) || now.get(network).text !== config) return undefined;
    if (request !== undefined && spareNetworkOf(request, now) !== network) return undefined;
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

/** As {@linkcode Spares.networkOf}. Members of a request that nobody has thought of here ask for something else. */
export function spareNetworkOf(request: SandboxRequest, catalog: Catalog): string | undefined {
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
