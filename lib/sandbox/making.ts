import { createNetns, netnsId, pinNetns } from "../host/netns.ts";
import { markedRun } from "../plugin/exec.ts";
import { asCniError, requirePermissions } from "../plugin/failure.ts";
import type { Catalog } from "../pod/catalog.ts";
import { loopbackUp } from "../pod/loopback.ts";
import { planAttachments, type PlannedAttachment, type PodRequest } from "../pod/request.ts";
import { CniError } from "../spec/error.ts";
import { dismantle } from "./dismantle.ts";
import { startInfra } from "./infra.ts";
import type { SandboxParts } from "./parts.ts";
import type { SandboxRecord } from "./record.ts";
import { draftRecord, podOf, type SandboxRequest, wantedPermissions } from "./request.ts";

/** A sandbox of which everything has been looked up and validated, and nothing done. */
export interface PreparedSandbox {
  readonly request: SandboxRequest;
  readonly record: SandboxRecord;
  readonly pod: PodRequest;
  readonly plan: readonly PlannedAttachment[];
}

/** Whose a sandbox is. */
export interface SandboxOwner {
  /** Answers for its attachments. @default {"sandbox:" and the ID} */
  readonly owner?: string;
  /** Whether it takes its name for itself; the pods of a container engine may share one. @default {true} */
  readonly named?: boolean;
}

/** As the kubelet cuts the names of pods; Linux takes one character more. */
const LONGEST_HOSTNAME = 63;

/** Makes sandboxes, each with all of its networks or not at all. */
export class SandboxMaking {
  readonly #parts: SandboxParts;

  constructor(parts: SandboxParts) {
    this.#parts = parts;
  }

  /**
   * Asks for all permissions that the sandbox will need.
   *
   * @throws {CniError} kind `permission`, naming every flag that is missing
   */
  async permit(request: SandboxRequest): Promise<void> {
    await requirePermissions(wantedPermissions(request, this.#parts));
  }

  /**
   * Everything that can be known to be wrong before anything is done.
   *
   * @throws {CniError} with the first thing that is wrong
   */
  async prepare(
    request: SandboxRequest,
    catalog: Catalog,
    { owner }: Pick<SandboxOwner, "owner"> = {},
  ): Promise<PreparedSandbox> {
    const { attachments } = this.#parts;
    const { signal } = request;
    const draft = await draftRecord(request, this.#parts);
    const record = owner === undefined ? draft : { ...draft, owner };
    const pod = podOf(request, record);
    const plan = planAttachments(pod, catalog);
    for (const { list } of plan) await attachments.requirePlugins(list, signal);
    return { request, record, pod, plan };
  }

  /**
   * Makes what was prepared, or leaves nothing behind. The caller holds the container's lock.
   *
   * @throws {CniError} with what failed first
   */
  async make(prepared: PreparedSandbox, { named = true }: SandboxOwner = {}): Promise<SandboxRecord> {
    const { record, plan, request: { signal } } = prepared;
    await this.#parts.attachments.requirePossible(record.id, plan, { signal });
    await this.#claim(record, named, signal);
    try {
      return await this.#build(prepared);
    } catch (error) {
      throw await this.#abandon(record, asCniError(error));
    }
  }

  /** Puts the intent on disk and takes the name. */
  async #claim(record: SandboxRecord, named: boolean, signal: AbortSignal | undefined): Promise<void> {
    const { sandboxes, locks } = this.#parts;
    if (await sandboxes.read(record.id) !== undefined) {
      throw new CniError("conflict", `the ID "${record.id}" is taken by another sandbox`);
    }
    const { path, owned } = record.netns;
    // Once the intent is on disk, whatever is under that path counts as made here and is removed.
    if (owned && await netnsId(path) !== undefined) {
      throw new CniError("conflict", `the network namespace ${path} is there already`, {
        hint: "choose another ID; `podwire recover` removes namespaces that no sandbox owns",
      });
    }
    await sandboxes.write(record);
    if (!named) return;
    try {
      using _names = await locks.names(signal);
      await sandboxes.reserve(record);
    } catch (error) {
      await sandboxes.remove(record);
      throw error;
    }
  }

  async #build({ record: draft, request, pod, plan }: PreparedSandbox): Promise<SandboxRecord> {
    const { signal } = request;
    const { sandboxes, pods, run } = this.#parts;
    const made = await this.#makeNamespace(draft, request);
    await sandboxes.write(made);
    // In a namespace made here it is up already.
    const isNew = (request.source?.kind ?? "new") === "new";
    if (!isNew) await loopbackUp(made.netns.path, { run, ...(signal && { signal }) });
    await pods.setUp(pod, plan, { owner: ownerOf(draft), ...(signal && { signal }) });
    signal?.throwIfAborted();
    const ready = { ...made, phase: "ready" as const };
    await sandboxes.write(ready);
    return ready;
  }

  async #makeNamespace(draft: SandboxRecord, request: SandboxRequest): Promise<SandboxRecord> {
    const { run } = this.#parts;
    const { path, owned } = draft.netns;
    if (!owned) return draft;
    const options = { run: markedRun(run, draft.id), ...(request.signal && { signal: request.signal }) };
    let pid = draft.pid;
    if (draft.infra !== undefined) {
      const container = { id: draft.id, hostname: draft.name.slice(0, LONGEST_HOSTNAME), ...draft.infra };
      pid = await startInfra(container, { ...options, path: this.#parts.path });
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
    const { sandboxes, log } = this.#parts;
    // The undo of the ADD has just tried what it left as failed; trying again would only take its time again.
    const failures = await dismantle(record, this.#parts, { attachedOnly: true });
    for (const failure of failures) log.warn(`left on record: ${failure.message}`, { sandbox: record.id });
    await sandboxes.remove(record);
    return cause;
  }
}

/** Who answers for the attachments of a sandbox. */
export function ownerOf({ id, owner }: SandboxRecord): string {
  return owner ?? `sandbox:${id}`;
}
