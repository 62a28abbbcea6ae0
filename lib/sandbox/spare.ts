import { endOrphans } from "../host/orphans.ts";
import type { Lock } from "../host/lock.ts";
import { withContainerLock } from "../network/container_lock.ts";
import { noteIfPossible } from "../network/note.ts";
import type { AttachmentStore } from "../network/record.ts";
import { reported } from "../plugin/failure.ts";
import type { Catalog } from "../pod/catalog.ts";
import { type CniError, isCniError } from "../spec/error.ts";
import { dismantle } from "./dismantle.ts";
import { validateLabels } from "./label.ts";
import { SandboxMaking } from "./making.ts";
import { validateName } from "./name.ts";
import { holding, type SandboxParts } from "./parts.ts";
import type { SandboxRecord } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import type { SandboxRequest } from "./request.ts";
import { problemOf, type Sandbox, viewSandbox } from "./view.ts";

/** The namespace in which spares are called `pool-…` until they are somebody's. */
export const SPARE_NAMESPACE = "podwire-pool";
/** The label of a spare: its network. */
export const SPARE_LABEL = "podwire.pool";

const IF_NAME = "eth0";

/** A sandbox that was made for whoever wants one on its network. */
export interface Spare {
  readonly id: string;
  readonly network: string;
  /** The effective configuration that it was attached with. */
  readonly config: string;
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
      await holding(
        locks,
        id,
        signal,
        // Nobody else is called as its ID.
        () => this.#making.make({ ...prepared, record }, { named: false }),
      );
      return { id, network, config };
    });
  }

  /** Whether it can still be handed out. */
  async isIntact(spare: Spare): Promise<boolean> {
    return await this.#recordOf(spare) !== undefined;
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
    const { locks, sandboxes } = this.#options;
    return await reported(async () => {
      validateName("sandbox name", name);
      validateName("namespace", namespace);
      validateLabels(labels);
      return await withContainerLock(locks, id, signal, async () => {
        const record = await this.#recordOf(spare, request);
        if (record === undefined) return undefined;
        const { pool: _, ...rest } = record;
        const next = { ...rest, name, namespace, labels, createdAt: new Date().toISOString() };
        let hasBegun = false;
        try {
          using _names = await locks.names(signal);
          signal?.throwIfAborted();
          hasBegun = true;
          await sandboxes.reserve(next);
          await sandboxes.write(next);
        } catch (error) {
          // Which of the two records is there cannot be told.
          if (hasBegun && !isCniError(error, "conflict")) await this.#dismantle(next);
          throw error;
        }
        return await viewSandbox(next, this.#options);
      });
    });
  }

  /** Takes one down, if it is still one; gives what could not be, which stays among the attachments. */
  async takeDown({ id }: Spare): Promise<readonly CniError[]> {
    const { locks, sandboxes } = this.#options;
    return await reported(() =>
      holding(locks, id, undefined, async () => {
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
    const { sandboxes, run, log } = this.#options;
    if (record.phase !== "ready") await endOrphans(`CNI_CONTAINERID=${record.id}`, run);
    const doomed = { ...record, phase: "removing" as const };
    await noteIfPossible(() => sandboxes.write(doomed), log, { sandbox: record.id, phase: doomed.phase });
    const { failures } = await dismantle(doomed, this.#options);
    await sandboxes.remove(doomed);
    return failures;
  }

  /** Its record, if all is as it was when it was made, and fits the request now. */
  async #recordOf(spare: Spare, request?: SandboxRequest): Promise<SandboxRecord | undefined> {
    const { id, network, config } = spare;
    const { sandboxes, store, catalog } = this.#options;
    const now = await catalog(request?.signal);
    if (!now.lists.some(({ name }) => name === network) || now.get(network).text !== config) return undefined;
    if (request !== undefined && spareNetworkOf(request, now) !== network) return undefined;
    const record = await sandboxes.read(id);
    if (record?.pool !== this.#pool || record.phase !== "ready") return undefined;
    if (await problemOf(record, this.#options) !== undefined) return undefined;
    const [attachment, ...others] = await store.ofContainer(id);
    const isAttached = attachment?.state === "attached" && attachment.network === network &&
      attachment.ifName === IF_NAME && attachment.netnsId === record.netns.id && others.length === 0;
    return isAttached ? record : undefined;
  }
}

/** As {@linkcode Spares.networkOf}. Members of a request that nobody has thought of here ask for something else. */
export function spareNetworkOf(request: SandboxRequest, catalog: Catalog): string | undefined {
  const { name: _name, namespace: _namespace, labels: _labels, signal: _signal, ...rest } = request;
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
