import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import { createNetns, netnsId, pinNetns } from "../host/netns.ts";
import { type ContainerLocks, withContainerLock } from "../network/container_lock.ts";
import type { Attachments } from "../network/network.ts";
import { noteIfPossible } from "../network/note.ts";
import { markedRun } from "../plugin/exec.ts";
import { asCniError, reported, requirePermissions } from "../plugin/failure.ts";
import type { Catalog } from "../pod/catalog.ts";
import type { PodNetworks } from "../pod/pod.ts";
import { planAttachments, type PlannedAttachment, type PodRequest } from "../pod/request.ts";
import { CniError } from "../spec/error.ts";
import { dismantle, dismantleHost } from "./dismantle.ts";
import { findSandbox } from "./find.ts";
import { startInfra } from "./infra.ts";
import type { SandboxRecord, SandboxStore } from "./record.ts";
import type { Recovery } from "./recovery.ts";
import { draftRecord, podOf, type SandboxRequest, wantedPermissions } from "./request.ts";
import { type Sandbox, viewSandbox } from "./view.ts";

/** The parts that {@linkcode Sandboxes} works with. */
export interface SandboxesOptions {
  readonly store: SandboxStore;
  readonly locks: ContainerLocks;
  readonly attachments: Attachments;
  readonly pods: PodNetworks;
  readonly recovery: Recovery;
  readonly catalog: () => Promise<Catalog>;
  readonly cacheDir: string;
  readonly runDir: string;
  readonly netnsDir: string;
  /** What the names of new namespaces begin with; the ID follows. */
  readonly netnsPrefix: string;
  readonly stateDir: string;
  /** Where programs are looked for, as in the variable `PATH`. */
  readonly path: string;
  readonly run: RunCommand;
  readonly log: Logger;
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

  /** Made by the composition root. */
  constructor(options: SandboxesOptions) {
    this.#options = options;
  }

  /**
   * Makes a sandbox with all of its networks, or leaves nothing behind.
   *
   * Permissions: those of the class; all of them are asked for before anything is done.
   *
   * @throws {CniError} with what failed first
   */
  async run(request: SandboxRequest): Promise<Sandbox> {
    return await reported(() => this.#run(request));
  }

  async #run(request: SandboxRequest): Promise<Sandbox> {
    const { recovery, attachments } = this.#options;
    const { signal } = request;
    await requirePermissions(wantedPermissions(request, this.#options));
    const record = await draftRecord(request, this.#options);
    const pod = podOf(request, record);
    const plan = planAttachments(pod, await this.#options.catalog());
    for (const { list } of plan) await attachments.requirePlugins(list, signal);
    await recovery.beforeFirstAdd(signal);
    if (request.replace) await this.#evict(record, signal);
    return await this.#holding(record.id, signal, async () => {
      await this.#claim(record, signal);
      try {
        return await this.#build(record, request, pod, plan);
      } catch (error) {
        throw await this.#abandon(record, asCniError(error));
      }
    });
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
    return await this.#underLock(nameOrId, options, async (record) => {
      // It may be "stopped" only as far as that went: a container whose runtime was missing is still there.
      if (record.phase === "stopped") return await dismantleHost(record, this.#options);
      await this.#note({ ...record, phase: "stopping" });
      const failures = await dismantle(record, this.#options, signalOf(options));
      await this.#options.store.write({ ...record, phase: "stopped", pid: undefined });
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
    return await this.#underLock(nameOrId, options, (record) => this.#forget(record, options));
  }

  async #forget(
    record: SandboxRecord,
    options: { force?: boolean; signal?: AbortSignal },
  ): Promise<readonly CniError[]> {
    const { force = false } = options;
    const { store } = this.#options;
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
      const records = await this.#options.store.all();
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
      await viewSandbox(await findSandbox(this.#options.store, nameOrId, options), this.#options)
    );
  }

  async #note(record: SandboxRecord): Promise<void> {
    const { store, log } = this.#options;
    await noteIfPossible(() => store.write(record), log, { sandbox: record.id, phase: record.phase });
  }

  /** Puts the intent on disk and takes the name. */
  async #claim(record: SandboxRecord, signal: AbortSignal | undefined): Promise<void> {
    const { store, locks } = this.#options;
    if (await store.read(record.id) !== undefined) {
      throw new CniError("conflict", `the ID "${record.id}" is taken by another sandbox`);
    }
    const { path, owned } = record.netns;
    // Once the intent is on disk, whatever is under that path counts as made here and is removed.
    if (owned && await netnsId(path) !== undefined) {
      throw new CniError("conflict", `the network namespace ${path} is there already`, {
        hint: "choose another ID; `podwire recover` removes namespaces that no sandbox owns",
      });
    }
    await store.write(record);
    try {
      using _names = await locks.names(signal);
      await store.reserve(record);
    } catch (error) {
      await store.remove(record);
      throw error;
    }
  }

  async #build(
    draft: SandboxRecord,
    request: SandboxRequest,
    pod: PodRequest,
    plan: readonly PlannedAttachment[],
  ): Promise<Sandbox> {
    const { signal } = request;
    const { store, pods } = this.#options;
    const made = await this.#makeNamespace(draft, request);
    await store.write(made);
    // In a namespace made here it is up already.
    const isNew = (request.source?.kind ?? "new") === "new";
    if (!isNew) await pods.loopbackUp(made.netns.path);
    await pods.setUp(pod, plan, { owner: `sandbox:${draft.id}`, ...(signal && { signal }) });
    signal?.throwIfAborted();
    const ready = { ...made, phase: "ready" as const };
    await store.write(ready);
    return await viewSandbox(ready, this.#options);
  }

  async #makeNamespace(draft: SandboxRecord, request: SandboxRequest): Promise<SandboxRecord> {
    const { run } = this.#options;
    const { path, owned } = draft.netns;
    if (!owned) return draft;
    const options = { run: markedRun(run, draft.id), ...(request.signal && { signal: request.signal }) };
    let pid = draft.pid;
    if (draft.infra !== undefined) {
      const container = { id: draft.id, hostname: draft.name, ...draft.infra };
      pid = await startInfra(container, { ...options, path: this.#options.path });
      await pinNetns(pid, path, options);
    } else if (pid !== undefined) {
      await pinNetns(pid, path, options);
    } else {
      await createNetns(path, options);
    }
    return { ...draft, pid, netns: { path, owned, id: await netnsId(path) } };
  }

  /** Undoes what a failed run has made so far; the record goes last. */
  async #abandon(record: SandboxRecord, cause: CniError): Promise<CniError> {
    const { store, log } = this.#options;
    // The undo of the ADD has just tried what it left as failed; trying again would only take its time again.
    const failures = await dismantle(record, this.#options, { attachedOnly: true });
    for (const failure of failures) log.warn(`left on record: ${failure.message}`, { sandbox: record.id });
    await store.remove(record);
    return cause;
  }

  /** By its ID, and never by a look-up: another sandbox may be called as that ID. */
  async #evict({ name, namespace }: SandboxRecord, signal: AbortSignal | undefined): Promise<void> {
    const { store, log } = this.#options;
    const owner = await store.ownerOf(namespace, name);
    if (owner === undefined) return;
    const failures = await this.#holding(owner, signal, async () => {
      const record = await store.read(owner);
      return record === undefined
        ? []
        : await this.#forget(record, { force: true, ...(signal && { signal }) });
    });
    for (const failure of failures) log.warn(`left on record: ${failure.message}`, { sandbox: owner });
  }

  /** Reads the record again once the lock is held: another process may have been faster. */
  async #underLock<T>(
    nameOrId: string,
    { signal, ...options }: FindOptions & { signal?: AbortSignal },
    body: (record: SandboxRecord) => Promise<T>,
  ): Promise<T> {
    const { store } = this.#options;
    return await reported(async () => {
      const found = await findSandbox(store, nameOrId, options);
      return await this.#holding(found.id, signal, async () => {
        const record = await store.read(found.id);
        if (record === undefined) throw new CniError("not-found", `the sandbox "${found.name}" is gone`);
        return await body(record);
      });
    });
  }

  async #holding<T>(id: string, signal: AbortSignal | undefined, body: () => Promise<T>): Promise<T> {
    const { locks } = this.#options;
    using _sweep = await locks.sweep({ shared: true, ...(signal && { signal }) });
    return await withContainerLock(locks, id, signal, body);
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
