import type { CallOptions } from "../async/call_options.ts";
import { podInArgs } from "../attachment/pod_args.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { asCniError, requirePermissions } from "../errors/to_cni_error.ts";
import { netnsId } from "../host/netns.ts";
import { readProcesses } from "../host/process.ts";
import { isInMemory } from "../host/stat.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { loopbackUp } from "../pod/loopback.ts";
import type { PodNetwork } from "../pod/pod_network.ts";
import { planAttachments, type PlannedAttachment, type PodIdentity } from "../pod/request.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { newerRecord } from "../state/checksummed.ts";
import { sandboxOwner } from "../state/owner.ts";
import { runFor, type SandboxContext } from "./context.ts";
import { criHostname } from "./cri_record.ts";
import { type DamagedRecord, isDamaged } from "./damaged_record.ts";
import { startInfra } from "./infra.ts";
import { identityOf, isUnchanged } from "./netns_identity.ts";
import { netnsMark } from "./netns_mark.ts";
import { requireSameProcess } from "./process_source.ts";
import type { SandboxInfra, SandboxRecord } from "./record.ts";
import {
  draftRecord,
  generatedName,
  hasUniqueName,
  POD_WORDING,
  podOf,
  type SandboxRequest,
  validateRequest,
  wantedNetworks,
  wantedPermissions,
  type Wording,
} from "./request.ts";
import { requireApartNetworks } from "./overlapping_networks.ts";
import { byNamespace, restoreSysctls, setSysctls, sysctlsOf } from "./sysctl.ts";
import type { BegunSandbox } from "./store.ts";
import { tearDown } from "./tear_down.ts";

/** A sandbox for which everything is looked up and validated, but nothing is done yet. */
export interface PreparedSandbox {
  readonly request: SandboxRequest;
  readonly record: SandboxRecord;
  readonly pod: PodIdentity;
  readonly plan: readonly PlannedAttachment[];
  /** Cancels what is done with it. */
  readonly signal: AbortSignal | undefined;
}

/** A sandbox that is ready. */
export interface CreatedSandbox {
  readonly record: SandboxRecord;
  /** In the order of attachment. */
  readonly networks: readonly PodNetwork[];
}

/** Who owns a sandbox. */
export interface SandboxOwner {
  /** Answers for its attachments. @default {`sandboxOwner` of the ID} */
  readonly owner?: string;
  /** Whether its name is reserved; the pods of a container engine may share one. @default {true} */
  readonly named?: boolean;
}

/** The kubelet cuts the names of pods at this length; Linux allows one more character. */
const LONGEST_HOSTNAME = 63;

/** How the facts are written that only recovery from a killed process needs: they are void after a loss of power. */
const AFTER_INTENT = { durable: "text" } as const;

/** Creates sandboxes, each with all of its networks or not at all. */
export class SandboxCreator {
  readonly #context: SandboxContext;

  constructor(context: SandboxContext) {
    this.#context = context;
  }

  /**
   * Refuses a request that is invalid in any state of the machine, before any file is created, and requests all permissions
   * that the sandbox will need.
   *
   * @throws {CniError} kind `usage`, or `permission` with every missing flag
   */
  checkPermissions(request: SandboxRequest, wording?: Wording): void {
    validateRequest(request, wording);
    requirePermissions(wantedPermissions(request, this.#context));
  }

  /**
   * Looks up and validates everything that can be checked before anything is done.
   *
   * @throws {CniError} with the first problem
   */
  async prepare(
    request: SandboxRequest,
    catalog: Catalog,
    { owner, signal }: Pick<SandboxOwner, "owner"> & CallOptions = {},
  ): Promise<PreparedSandbox> {
    const { attachments } = this.#context;
    const wording = owner === undefined ? undefined : POD_WORDING;
    const draft = await draftRecord(request, this.#context, { wording, signal });
    const record = owner === undefined ? draft : { ...draft, owner };
    const pod = podOf(record);
    const plan = planAttachments(pod, wantedNetworks(request, record), catalog);
    // An engine has its own rules for the networks of its pods.
    if (owner === undefined && !request.allowOverlap) requireApartNetworks(plan.map(({ list }) => list));
    await this.requireFewFailed(record, plan, signal);
    for (const { list } of plan) await attachments.requirePlugins(list, signal);
    return { request, record, pod, plan, signal };
  }

  /**
   * Refuses a pod with too many failed attachments. Attempts without an explicit name count as one pod if they use the same network.
   *
   * @throws {CniError} naming the pod
   */
  async requireFewFailed(
    { id, namespace, name }: SandboxRecord,
    plan: readonly PlannedAttachment[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (plan.length === 0) return;
    const isUnnamed = name === generatedName(id);
    const isOfPod = (record: AttachmentRecord) => {
      const owner = podInArgs(record);
      if (owner?.namespace !== namespace) return false;
      if (!isUnnamed) return owner.name === name;
      return owner.name === generatedName(record.containerId) &&
        plan.some(({ list }) => list.name === record.network);
    };
    const pod = isUnnamed
      ? `sandboxes without an explicit name, in namespace "${namespace}" and on these networks,`
      : `the pod "${namespace}/${name}"`;
    await this.#context.failedLimit.require(pod, isOfPod, signal);
  }

  /**
   * Creates a prepared sandbox, or leaves nothing behind. The caller holds the container's lock.
   *
   * @throws {CniError} with the first failure
   */
  async create(prepared: PreparedSandbox, { named = true }: SandboxOwner = {}): Promise<CreatedSandbox> {
    const { record, plan, signal } = prepared;
    await this.#context.attachments.requirePossible(record.id, plan, { signal });
    const { onDisk } = await this.#claim(prepared, named, signal);
    try {
      return await this.#build(prepared, onDisk);
    } catch (error) {
      throw await this.#undo(record, asCniError(error));
    }
  }

  /** Writes the record in phase `creating` and reserves the name. */
  async #claim(
    { record, request, plan }: PreparedSandbox,
    named: boolean,
    signal: AbortSignal | undefined,
  ): Promise<BegunSandbox> {
    const { sandboxes, locks, attachments } = this.#context;
    const holder = await sandboxes.readAny(record.id);
    if (holder !== undefined && isDamaged(holder)) throw takenByDamaged(holder);
    if (holder !== undefined) throw taken(record, holder);
    const { path, owned } = record.netns;
    // Once the record is on disk, recovery removes whatever is at that path.
    if (owned && await netnsId(path) !== undefined) {
      throw new CniError("conflict", `the network namespace ${path} already exists`, {
        hint: "choose another ID; `podwire recover` removes namespaces that no sandbox owns",
      });
    }
    const { id: containerId, netns: { path: netns } } = record;
    const pod = { containerId, netns, owner: ownerOf(record) };
    const intention = await attachments.intend(pod, plan, { signal });
    const begun = await sandboxes.begin(record, intention);
    if (!named) return begun;
    try {
      using _names = await locks.machine.names(signal);
      await sandboxes.reserve(record, { isUnique: hasUniqueName(request) });
    } catch (error) {
      await sandboxes.remove(record);
      throw error;
    }
    return begun;
  }

  async #build(
    { record: draft, request, pod, plan, signal }: PreparedSandbox,
    onDisk: Promise<void>,
  ): Promise<CreatedSandbox> {
    const { sandboxes, pods, attachments } = this.#context;
    // A loss of power leaves nothing of a namespace in memory.
    if (draft.infra !== undefined || draft.netns.owned && !isInMemory(draft.netns.path)) await onDisk;
    const created = await this.#createNamespace(draft, request, signal);
    if (created !== draft) await sandboxes.write(created, AFTER_INTENT);
    const { netns: { path }, hostNetwork } = created;
    // The OCI runtime has set the others.
    const { net: sysctls } = byNamespace(created.sysctls ?? {});
    const runOptions = { run: runFor(this.#context, draft.id), signal };
    // `lo` is already up in a namespace that podwire creates, and podwire does not change the namespace of the host.
    const kind = request.source?.kind ?? "new";
    const isNewNetns = !hostNetwork && (kind === "new" || kind === "infra");
    // Checked before anything in the namespace changes.
    if (!isNewNetns) await attachments.requireFreeInterfaces(pod, plan, { signal });
    const mark = kind === "infra" ? { alias: await netnsMark(this.#context.stateDir) } : {};
    if (kind !== "new" && !hostNetwork) await loopbackUp(path, { ...runOptions, ...mark });
    const kernel = kernelFor(runOptions.run);
    const before = isNewNetns ? {} : await sysctlsOf(path, Object.keys(sysctls), { kernel, signal });
    // Recovery from a killed run needs these values.
    if (Object.keys(before).length > 0) {
      await sandboxes.write({ ...created, sysctlsBefore: before }, AFTER_INTENT);
    }
    try {
      await setSysctls(path, sysctls, { kernel, signal });
      await onDisk;
      const networks = await pods.setUp(pod, plan, { owner: ownerOf(draft), isNewNetns, signal });
      signal?.throwIfAborted();
      const record = { ...created, phase: "ready" as const };
      await sandboxes.write(record);
      return { record, networks };
    } catch (error) {
      await restoreSysctls(path, { sysctls, before }, kernel).catch((left: unknown) => {
        this.#context.log.warn(`Cannot restore sysctls: ${asCniError(left).message}`, {
          sandbox: draft.id,
        });
      });
      throw error;
    }
  }

  async #createNamespace(
    draft: SandboxRecord,
    request: SandboxRequest,
    signal: AbortSignal | undefined,
  ): Promise<SandboxRecord> {
    const { path, owned } = draft.netns;
    if (!owned) await requireUnchanged(draft);
    if (!owned && draft.infra === undefined) return draft;
    const options = { run: runFor(this.#context, draft.id), signal };
    const kernel = kernelFor(options.run);
    let { pid, pidStart: start } = draft;
    if (draft.infra !== undefined) {
      pid = await this.#startInfra(draft, draft.infra, request, signal);
      start = (await readProcesses([pid], options)).get(pid)?.start;
    }
    // The namespace of the host is there.
    if (!owned) return withProcess(draft, pid, start);
    if (pid === undefined) {
      await kernel.createNetns(path, { alias: await netnsMark(this.#context.stateDir), signal });
    } else {
      await kernel.pinNetns(pid, path, { signal });
      await requireSameProcess({ pid, start }, options);
    }
    return withProcess({ ...draft, netns: { path, owned, ...await identityOf(path) } }, pid, start);
  }

  async #startInfra(
    { id, name, namespace, uid, cri, sysctls = {}, hostNetwork }: SandboxRecord,
    infra: SandboxInfra,
    { infraSettings: settings }: SandboxRequest,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const { path, timeouts, log } = this.#context;
    // Not the annotations of the pod, because OCI runtimes act on some of them.
    const annotations = { "podwire.sandbox.name": name, "podwire.sandbox.namespace": namespace };
    const container = {
      ...infra,
      id,
      hostname: (cri && criHostname(cri)) ?? hostnameOf(name),
      annotations: { ...annotations, "podwire.sandbox.uid": uid },
      sysctls: byNamespace(sysctls).ipc,
      settings,
      hostNetwork,
    };
    const run = runFor(this.#context, id);
    return await startInfra(container, { run, path, timeoutMs: timeouts.ADD, log, signal });
  }

  /** Undoes what a failed run has created; the record is removed last. */
  async #undo(record: SandboxRecord, cause: CniError): Promise<CniError> {
    const { sandboxes, log } = this.#context;
    // The undo of the ADD has just tried to detach the failed attachments; another try would only take as long again.
    const { failures } = await tearDown(record, this.#context, { attachedOnly: true });
    for (const failure of failures) log.warn(`left on record: ${failure.message}`, { sandbox: record.id });
    await sandboxes.remove(record);
    return cause;
  }
}

function withProcess(
  record: SandboxRecord,
  pid: number | undefined,
  start: number | undefined,
): SandboxRecord {
  return { ...record, pid, ...(start === undefined ? {} : { pidStart: start }) };
}

/** Refuses a namespace that was replaced since the request. */
async function requireUnchanged(record: SandboxRecord): Promise<void> {
  if (await isUnchanged(record.netns)) return;
  throw new CniError("conflict", `${record.netns.path} leads to another namespace now, or to none`, {
    code: ERROR_CODES.invalidNetns,
  });
}

/** Cuts the name, and removes the characters that a hostname cannot end with. */
function hostnameOf(name: string): string {
  return name.slice(0, LONGEST_HOSTNAME).replace(/[-._]+$/, "");
}

/** Returns the owner of the attachments of a sandbox. */
export function ownerOf({ id, owner }: SandboxRecord): string {
  return owner ?? sandboxOwner(id);
}

function takenByDamaged({ id, file, reason, isNewer }: DamagedRecord): CniError {
  if (isNewer) return newerRecord(file, reason);
  return new CniError("conflict", `the ID "${id}" is taken by a sandbox whose record cannot be read`, {
    details: `${file}: ${reason}`,
    hint: `\`podwire repair ${id}\` recreates the record, \`podwire rm -f ${id}\` removes the sandbox`,
  });
}

function taken({ id, owner }: SandboxRecord, holder: SandboxRecord): CniError {
  if (owner === undefined) return new CniError("conflict", `the ID "${id}" is taken by another sandbox`);
  if (holder.owner === owner) {
    return new CniError("conflict", `the container ID "${id}" is taken: its pod is set up already`, {
      hint: "tear the pod down before it is set up again",
    });
  }
  const what = holder.owner === undefined
    ? "a sandbox of its own"
    : `a pod of another owner, "${holder.owner}"`;
  return new CniError("conflict", `the container ID "${id}" is taken by ${what}`, {
    hint: "`podwire ps` lists the sandboxes, `podwire rm` removes one",
  });
}
