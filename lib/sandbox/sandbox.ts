import { holdNetns, type NetnsHandle } from "../host/netns_handle.ts";
import { withContainerLock } from "../state/container_locks.ts";
import { writeBestEffort } from "../state/write_best_effort.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import type { Instrumentation, Operation } from "../plugin/instrumentation.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { ResultCache } from "../state/result_cache.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { CniError, isCniError } from "../cni/error.ts";
import { tearDown, tearDownHost } from "./tear_down.ts";
import { isInState, mayBeMeant, type SandboxFilter } from "./filter.ts";
import { findSandbox } from "./find.ts";
import { infraEndWords, infraState } from "./infra.ts";
import { type PreparedSandbox, SandboxCreator } from "./create.ts";
import { isUnchanged } from "./netns_identity.ts";
import type { SandboxContext } from "./context.ts";
import { type SandboxRecord, stopped } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import { DamagedSandboxes } from "./damaged_sandboxes.ts";
import type { SandboxRequest } from "./request.ts";
import { Repair, type RepairReport, type RepairRequest } from "./repair.ts";
import { evictRivals, isWorthAnother, sameAttempt } from "./rivals.ts";
import { settleContainers } from "./settle_containers.ts";
import { type Sandbox, viewSandbox, viewSandboxes } from "./view.ts";

/** The parts that {@linkcode Sandboxes} works with. */
export interface SandboxesOptions extends SandboxContext {
  readonly recovery: Recovery;
  readonly watch: Instrumentation;
  readonly store: AttachmentStore;
  readonly cache: Pick<ResultCache, "read">;
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
}

/**
 * Network namespaces that outlive the process, with their networks; their life is that of the pod sandboxes of the
 * Kubernetes CRI. Several processes may work on one sandbox: one after another, and each sees what the other did.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state, cache, run and netns directories,
 * `--allow-run` for iproute2, util-linux and the plugins. Needs root.
 *
 * @example
 * ```ts
 * import { Podwire } from "../runtime/podwire.ts";
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
  readonly #making: SandboxCreator;
  readonly #remains: DamagedSandboxes;

  /** Made by the composition root. */
  constructor(options: SandboxesOptions) {
    this.#options = options;
    this.#making = new SandboxCreator(options);
    this.#remains = new DamagedSandboxes(options);
  }

  /**
   * Makes a sandbox with all of its networks, or leaves nothing behind. Its name is its own until it is removed; with a
   * UID, for each UID and attempt: where that very one is ready, or being made, it is given, and `onSame` is called.
   *
   * Permissions: those of the class; all of them are asked for before anything is done.
   *
   * @throws {CniError} with what failed first; kind `conflict` if the name or the ID is taken
   */
  async run(request: SandboxRequest, onSame?: () => void): Promise<Sandbox> {
    const { name, id } = request;
    const attributes = { ...(name && { "podwire.sandbox": name }), ...(id && { "podwire.sandbox_id": id }) };
    const run = () => withCniErrors(() => this.#run(request, onSame));
    return await this.#options.watch.operation("run", attributes, run);
  }

  async #run(request: SandboxRequest, onSame?: () => void): Promise<Sandbox> {
    const { recovery, locks, catalog } = this.#options;
    const { signal, replace = false } = request;
    await this.#making.checkPermissions(request);
    // What an earlier boot left must not hold a default network in its place.
    await recovery.beforeFirstAdd(signal);
    if (request.source?.kind === "pid" && request.source.container !== undefined) {
      await settleContainers(this.#options, signal);
    }
    for (let round = 1;; round++) {
      const same = await sameAttempt(request, this.#options, onSame);
      if (same !== undefined) return same;
      const prepared = await this.#making.prepare(request, await catalog(signal));
      if (replace) await this.#evict(prepared, signal);
      try {
        return await withContainerLock(
          locks,
          prepared.record.id,
          signal,
          async () => viewSandbox(await this.#making.make(prepared), this.#options),
        );
      } catch (error) {
        // Where another run was faster, this one goes after it.
        if (!await isWorthAnother(error, prepared, round, this.#options)) throw error;
      }
    }
  }

  /**
   * Takes the network down, then what podwire made, and keeps the record; as `StopPodSandbox` of the CRI, it may be
   * repeated. What could not be torn down is given back, not thrown: a network stays among the attachments, and an infra
   * container or a namespace makes the sandbox `broken` until another stop, a removal or a recovery takes it down.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found` unless `missingOk`, or what the signal says; then the rest waits for another stop
   */
  async stop(nameOrId: string, options: StopOptions = {}): Promise<readonly CniError[]> {
    return await this.#takeDown("stop", nameOrId, options, async (record) => {
      const { sandboxes: store } = this.#options;
      // It may be "stopped" only as far as that went: a container whose runtime was missing is still there.
      if (record.phase === "stopped" && await store.has(record.id)) {
        const { failures, left } = await tearDownHost(record, this.#options);
        if (left !== record.reason) await this.#note(stopped(record, left));
        return failures;
      }
      await this.#note({ ...record, phase: "stopping" });
      const { failures, left } = await tearDown(record, this.#options, signalOf(options));
      await store.write(stopped(record, left));
      return failures;
    });
  }

  /**
   * Takes the network down, then what podwire made, and forgets the sandbox. A broken one too: one whose record cannot
   * be read is removed as far as there is something of it.
   *
   * With `force` it is forgotten also when not all could be torn down, and one that is gone is fine, as `RemovePodSandbox`
   * of the CRI wants it. What could not be torn down is then given back; a network stays among the attachments, an infra
   * container or a namespace is for recovery to remove.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found` unless `missingOk`, what could not be torn down, or what the signal says
   */
  async remove(nameOrId: string, options: RemoveOptions = {}): Promise<readonly CniError[]> {
    const { force = false, missingOk = force } = options;
    return await this.#takeDown(
      "remove",
      nameOrId,
      { ...options, missingOk },
      (record) => this.#forget(record, options),
    );
  }

  async #forget(
    record: SandboxRecord,
    options: { force?: boolean | undefined; signal?: AbortSignal | undefined },
  ): Promise<readonly CniError[]> {
    const { force = false } = options;
    const { sandboxes: store } = this.#options;
    await this.#note({ ...record, phase: force ? "removing" : "stopping" });
    const { failures, left } = await tearDown(record, this.#options, signalOf(options));
    const [first] = failures;
    if (first !== undefined && !force) {
      await this.#note(stopped(record, left));
      throw first.within({
        hint: "`podwire rm -f` forgets the sandbox all the same; the attachment stays on record",
      });
    }
    await store.remove(record);
    return failures;
  }

  /**
   * The sandboxes for which all of the filters hold, oldest first.
   *
   * Permissions: `--allow-read` for the state, run and netns directories, `--allow-run=cat`, and, to tell whether somebody
   * is at work on one that is neither up nor down, `--allow-write` for the run directory.
   *
   * @throws {CniError} if the records cannot be read
   */
  async list(
    filter: SandboxFilter | readonly SandboxFilter[] = {},
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly Sandbox[]> {
    const filters = [filter].flat();
    return await withCniErrors(async () => {
      signal?.throwIfAborted();
      const meant = (await this.#all()).filter((record) => mayBeMeant(record, filters));
      const sandboxes = await viewSandboxes(meant, this.#options, signal);
      return sandboxes.filter((sandbox) => isInState(sandbox, filters));
    });
  }

  /** In which state each sandbox is, as {@linkcode Sandboxes.list} has it, without what its networks came to. */
  async states(): Promise<readonly Pick<Sandbox, "state" | "underWay">[]> {
    const parts = { ...this.#options, pods: { networks: () => Promise.resolve([]) } };
    return await withCniErrors(async () => viewSandboxes(await this.#all(), parts));
  }

  async #all(): Promise<readonly SandboxRecord[]> {
    const { records, damaged } = await this.#options.sandboxes.scan();
    return [...records, ...await this.#remains.shown(damaged)];
  }

  /**
   * One sandbox, by name, ID or unambiguous prefix of an ID. Of a broken one with an infra container, `reason` has what
   * the OCI runtime says too.
   *
   * Permissions: those of {@linkcode Sandboxes.list}, and, for a broken one with an infra container, `--allow-run=sh`.
   *
   * @throws {CniError} kind `not-found`
   */
  async get(nameOrId: string, options: FindOptions = {}): Promise<Sandbox> {
    return await withCniErrors(async () => {
      const { signal } = options;
      signal?.throwIfAborted();
      const record = await this.#find(nameOrId, options);
      const sandbox = await viewSandbox(record, this.#options, signal);
      const { reason, underWay = false } = sandbox;
      if (reason === undefined || underWay || record.infra === undefined) return sandbox;
      const parts = { ...this.#options, ...signalOf(options) };
      const said = await infraState({ ...record.infra, id: record.id }, parts);
      return { ...sandbox, reason: `${reason}; ${said}${await infraEndWords(record.id, parts)}` };
    });
  }

  /**
   * Holds the namespace of a sandbox that is ready, for programs that are to run inside (`nsenter --net=PATH`). Who
   * enters by the path of the handle enters that namespace and no other, whatever becomes of the sandbox meanwhile.
   *
   * Permissions: as {@linkcode Sandboxes.get}, and `--allow-read` for `/proc`; entering needs root.
   *
   * @throws {CniError} kind `not-found`, or `conflict` saying why it is not ready
   *
   * @example
   * ```ts
   * import { Podwire } from "../runtime/podwire.ts";
   *
   * using netns = await new Podwire().sandboxes.hold("web");
   * await new Deno.Command("nsenter", { args: [`--net=${netns.path}`, "--", "ip", "addr"] }).spawn().status;
   * ```
   */
  async hold(nameOrId: string, options: FindOptions = {}): Promise<NetnsHandle> {
    const { name, id, state, reason = "" } = await this.get(nameOrId, options);
    const refuse = (problem: string) =>
      new CniError("conflict", `Cannot enter sandbox "${name}": ${problem}`);
    if (state !== "ready") throw refuse(`it is ${state}${reason && `: ${reason}`}`);
    return await withCniErrors(async () => {
      const netns = (await this.#options.sandboxes.read(id))?.netns;
      if (netns?.id === undefined) throw refuse("it is gone");
      const { path, id: wanted } = netns;
      const isKernels = path.startsWith("/proc/");
      // What is under /proc cannot be opened, nor can anybody put something else there.
      const nothing = { path, [Symbol.dispose]: () => {} };
      const handle = isKernels ? nothing : await holdNetns(path, wanted);
      // Asked again now that it is held, as its number cannot be given to another any more.
      if (handle !== undefined && await isUnchanged(netns)) return handle;
      handle?.[Symbol.dispose]();
      throw refuse(`${path} does not lead to its namespace`);
    });
  }

  /** Makes damaged records anew, of one sandbox or of all; those of a newer version are left alone. */
  async repair(request: RepairRequest = {}): Promise<RepairReport> {
    return await new Repair(this.#options).repair(request);
  }

  async #find(nameOrId: string, { namespace }: FindOptions): Promise<SandboxRecord> {
    const where = { remains: this.#remains, ...(namespace === undefined ? {} : { namespace }) };
    return await findSandbox(this.#options.sandboxes, nameOrId, where);
  }

  async #note(record: SandboxRecord): Promise<void> {
    const { sandboxes: store, log } = this.#options;
    await writeBestEffort(() => store.write(record), log, { sandbox: record.id, phase: record.phase });
  }

  /** By its ID, and never by a look-up: another sandbox may be called as that ID. */
  async #evict(prepared: PreparedSandbox, signal: AbortSignal | undefined): Promise<void> {
    const { sandboxes: store } = this.#options;
    await evictRivals(prepared, this.#options, async (owner) => {
      const record = await store.read(owner) ?? await this.#remains.of(owner);
      if (record !== undefined) return await this.#forget(record, { force: true, signal });
      await store.forgetDamaged(owner);
      return [];
    });
  }

  /** Reads the record again once the lock is held: another process may have been faster. */
  async #takeDown(
    operation: Operation,
    nameOrId: string,
    options: StopOptions,
    body: (record: SandboxRecord) => Promise<readonly CniError[]>,
  ): Promise<readonly CniError[]> {
    const { sandboxes: store, locks, watch } = this.#options;
    const { missingOk = false, signal } = options;
    const act = async () => {
      signal?.throwIfAborted();
      const found = await this.#find(nameOrId, options).catch((error: unknown) => {
        if (missingOk && isCniError(error, "not-found")) return undefined;
        throw error;
      });
      if (found === undefined) return [];
      return await withContainerLock(locks, found.id, signal, async () => {
        await this.#options.store.requireUnderstood(found.id);
        const record = await store.read(found.id) ?? await this.#remains.of(found.id);
        // One that was made since with its ID is another.
        if (record?.createdAt === found.createdAt) {
          await this.#endInterrupted(record);
          return await body(record);
        }
        if (missingOk) return [];
        throw new CniError("not-found", `the sandbox "${found.name}" is gone`);
      });
    };
    return await watch.operation(operation, { "podwire.sandbox": nameOrId }, () => withCniErrors(act));
  }

  /** Whoever was at work on it was killed, as its lock is ours: a plugin may still be making what is to go. */
  async #endInterrupted({ id, phase }: SandboxRecord): Promise<void> {
    if (phase === "ready" || phase === "stopped") return;
    await this.#options.running.endAbandonedOf(id);
  }
}

/** How a sandbox is looked for. */
export interface FindOptions {
  /** Where the name is looked for. @default {"default"} */
  readonly namespace?: string | undefined;
  /** Cuts the call short. */
  readonly signal?: AbortSignal | undefined;
}

/** How a sandbox is taken down. */
export interface StopOptions extends FindOptions {
  /** Whether one that is gone is fine. @default {false, and for a forced removal true} */
  readonly missingOk?: boolean | undefined;
}

/** How a sandbox is removed. */
export interface RemoveOptions extends StopOptions {
  /** Whether it is forgotten also when not all could be torn down. @default {false} */
  readonly force?: boolean | undefined;
}

function signalOf({ signal }: { signal?: AbortSignal | undefined }): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
