import { noteIfPossible } from "../network/note.ts";
import { reported } from "../plugin/failure.ts";
import type { Operation, Watch } from "../plugin/observe.ts";
import type { Catalog } from "../pod/catalog.ts";
import { CniError } from "../spec/error.ts";
import { dismantle, dismantleHost } from "./dismantle.ts";
import { findSandbox } from "./find.ts";
import { type PreparedSandbox, SandboxMaking } from "./making.ts";
import { holding, type SandboxParts } from "./parts.ts";
import type { SandboxRecord } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import type { SandboxRequest } from "./request.ts";
import { type Sandbox, viewSandbox } from "./view.ts";

/** The parts that {@linkcode Sandboxes} works with. */
export interface SandboxesOptions extends SandboxParts {
  readonly recovery: Recovery;
  readonly watch: Watch;
  readonly catalog: () => Promise<Catalog>;
}

/**
 * Network namespaces that outlive the process, with their networks.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state, cache, run and netns directories,
 * `--allow-run` for iproute2, util-linux and the plugins. Needs root.
 *
 * @example
 * ```ts
 * import { Podwire } from "../runtime.ts";
 *
 * const { sandboxes } = new Podwire();
 * const { id, ips } = await sandboxes.run({ name: "web", networks: [{ name: "podwire", ifName: "eth0" }] });
 * console.log(ips);
 * await sandboxes.stop(id);
 * await sandboxes.remove(id);
 * ```
 */
export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #making: SandboxMaking;

  /** Made by the composition root. */
  constructor(options: SandboxesOptions) {
    this.#options = options;
    this.#making = new SandboxMaking(options);
  }

  /**
   * Makes a sandbox with all of its networks, or leaves nothing behind.
   *
   * Permissions: those of the class; all of them are asked for before anything is done.
   *
   * @throws {CniError} with what failed first
   */
  async run(request: SandboxRequest): Promise<Sandbox> {
    const { name, id } = request;
    const attributes = { ...(name && { "podwire.sandbox": name }), ...(id && { "podwire.sandbox_id": id }) };
    return await this.#options.watch.operation("run", attributes, () => reported(() => this.#run(request)));
  }

  async #run(request: SandboxRequest): Promise<Sandbox> {
    const { recovery, locks, catalog } = this.#options;
    const { signal } = request;
    await this.#making.permit(request);
    // What an earlier boot left must not hold a default network in its place.
    await recovery.beforeFirstAdd(signal);
    const prepared = await this.#making.prepare(request, await catalog());
    const { record } = prepared;
    if (request.replace) await this.#evict(prepared, signal);
    return await holding(
      locks,
      record.id,
      signal,
      async () => viewSandbox(await this.#making.make(prepared), this.#options),
    );
  }

  /**
   * Takes the network down and keeps the record. Stopping a stopped sandbox does nothing. What could
   * not be torn down stays among the attachments and is given back, not thrown.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found`
   */
  async stop(
    nameOrId: string,
    options: FindOptions & { signal?: AbortSignal } = {},
  ): Promise<readonly CniError[]> {
    return await this.#underLock("stop", nameOrId, options, async (record) => {
      // It may be "stopped" only as far as that went: a container whose runtime was missing is still there.
      if (record.phase === "stopped") return await dismantleHost(record, this.#options);
      await this.#note({ ...record, phase: "stopping" });
      const failures = await dismantle(record, this.#options, signalOf(options));
      await this.#options.sandboxes.write({ ...record, phase: "stopped", pid: undefined });
      return failures;
    });
  }

  /**
   * Takes the network down and forgets the sandbox. With `force`, what could not be torn down does
   * not keep the sandbox: it stays among the attachments and is given back.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found`, or what could not be torn down
   */
  async remove(
    nameOrId: string,
    options: FindOptions & { force?: boolean; signal?: AbortSignal } = {},
  ): Promise<readonly CniError[]> {
    return await this.#underLock("remove", nameOrId, options, (record) => this.#forget(record, options));
  }

  async #forget(
    record: SandboxRecord,
    options: { force?: boolean; signal?: AbortSignal },
  ): Promise<readonly CniError[]> {
    const { force = false } = options;
    const { sandboxes: store } = this.#options;
    await this.#note({ ...record, phase: force ? "removing" : "stopping" });
    const failures = await dismantle(record, this.#options, signalOf(options));
    const [first] = failures;
    if (first !== undefined && !force) {
      await this.#note({ ...record, phase: "stopped", pid: undefined });
      throw first.within({
        hint: "`podwire rm -f` forgets the sandbox all the same; the attachment stays on record",
      });
    }
    await store.remove(record);
    return failures;
  }

  /**
   * All sandboxes, oldest first.
   *
   * Permissions: `--allow-read` for the state and netns directories, `--allow-run=cat`.
   *
   * @throws {CniError} if the records cannot be read
   */
  async list(): Promise<readonly Sandbox[]> {
    return await reported(async () => {
      const records = await this.#options.sandboxes.all();
      return await Promise.all(records.map((record) => viewSandbox(record, this.#options)));
    });
  }

  /**
   * One sandbox, by name, ID or unambiguous prefix of an ID.
   *
   * Permissions: `--allow-read` for the state and netns directories, `--allow-run=cat`.
   *
   * @throws {CniError} kind `not-found`
   */
  async get(nameOrId: string, options: FindOptions = {}): Promise<Sandbox> {
    return await reported(async () =>
      await viewSandbox(await findSandbox(this.#options.sandboxes, nameOrId, options), this.#options)
    );
  }

  async #note(record: SandboxRecord): Promise<void> {
    const { sandboxes: store, log } = this.#options;
    await noteIfPossible(() => store.write(record), log, { sandbox: record.id, phase: record.phase });
  }

  /** By its ID, and never by a look-up: another sandbox may be called as that ID. */
  async #evict({ record, plan }: PreparedSandbox, signal: AbortSignal | undefined): Promise<void> {
    const { sandboxes: store, attachments, log } = this.#options;
    const owner = await store.ownerOf(record.namespace, record.name);
    if (owner === undefined) return;
    // It must not go for one that cannot be made.
    await attachments.requirePossible(record.id, plan, { leaving: owner, signal });
    const failures = await holding(this.#options.locks, owner, signal, async () => {
      const record = await store.read(owner);
      return record === undefined
        ? []
        : await this.#forget(record, { force: true, ...(signal && { signal }) });
    });
    for (const failure of failures) log.warn(`left on record: ${failure.message}`, { sandbox: owner });
  }

  /** Reads the record again once the lock is held: another process may have been faster. */
  async #underLock<T>(
    operation: Operation,
    nameOrId: string,
    { signal, ...options }: FindOptions & { signal?: AbortSignal },
    body: (record: SandboxRecord) => Promise<T>,
  ): Promise<T> {
    const { sandboxes: store, locks, watch } = this.#options;
    const act = async () => {
      const found = await findSandbox(store, nameOrId, options);
      return await holding(locks, found.id, signal, async () => {
        const record = await store.read(found.id);
        if (record === undefined) throw new CniError("not-found", `the sandbox "${found.name}" is gone`);
        return await body(record);
      });
    };
    return await watch.operation(operation, { "podwire.sandbox": nameOrId }, () => reported(act));
  }
}

/** How a sandbox is looked for. */
export interface FindOptions {
  /** Where the name is looked for. @default {"default"} */
  readonly namespace?: string;
}

function signalOf({ signal }: { signal?: AbortSignal }): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
