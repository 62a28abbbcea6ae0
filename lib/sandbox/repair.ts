import type { CallOptions } from "../async/call_options.ts";
import type { RuleRepair } from "../attachment/rule_repair.ts";
import { isContainerId } from "../cni/name.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { readOwnBytes, readTextIfThere, statOf } from "../host/file.ts";
import { netnsId } from "../host/netns.ts";
import { readProcesses } from "../host/process.ts";
import { repairAttachment } from "../state/attachment_record.ts";
import type { AttachmentRecord, AttachmentStore, DamagedAttachment } from "../state/attachment_store.ts";
import { sandboxOwner } from "../state/owner.ts";
import { LARGEST_LOG } from "../state/record_files.ts";
import type { SandboxContext } from "./context.ts";
import type { DamagedRecord } from "./damaged_record.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import { findSandbox } from "./find_sandbox.ts";
import { infraBundle, infraOf } from "./infra.ts";
import { identityOf } from "./netns_identity.ts";
import { repairSandbox, type SandboxRecord } from "./record.ts";
import { putInside } from "./inside.ts";
import { repairLinks } from "./repair_links.ts";

/** What {@linkcode Repair.repair} repairs. */
export interface RepairRequest {
  /** Names, IDs, or prefixes of IDs. @default {everything on record} */
  readonly sandbox?: string | readonly string[] | undefined;
  /** Namespace of the names. @default {"default"} */
  readonly namespace?: string | undefined;
  /** Whether nothing is changed. @default {false} */
  readonly dryRun?: boolean | undefined;
  /**
   * Whether attachments that still fail their CHECK are made anew, by a DEL and an ADD with the same addresses. Their connections
   * end. @default {false}
   */
  readonly links?: boolean | undefined;
}

/**
 * What can be damaged: records of sandboxes and of attachments, the rules that the built-in plugins made, and the links, addresses
 * and routes of attachments.
 */
export const REPAIR_KINDS = ["sandbox", "attachment", "rules", "links"] as const;

/** One of {@linkcode REPAIR_KINDS}. */
export type RepairKind = typeof REPAIR_KINDS[number];

/** One thing that was damaged. */
export interface RepairItem {
  /** Whether it is the record of a sandbox or of an attachment, or the rules or the links of an attachment. */
  readonly kind: RepairKind;
  /** ID of the sandbox, or of the container of the attachment. */
  readonly containerId: string;
  /** Network of the attachment, if it is about rules or links. */
  readonly network?: string;
  /** Interface of the attachment, if it is about rules or links. */
  readonly ifName?: string;
  /** Path of the damaged record. */
  readonly file?: string;
  /** How it was repaired, or why it was not. */
  readonly why: string;
  /** What could not be restored. */
  readonly lost?: readonly string[];
}

/** What a repair did, or would do in a dry run. */
export interface RepairReport {
  /** What was restored or recreated. */
  readonly repaired: readonly RepairItem[];
  /** What was not changed. */
  readonly kept: readonly RepairItem[];
}

/** The dependencies of {@linkcode Repair}. */
export interface RepairContext extends SandboxContext {
  readonly store: AttachmentStore;
  readonly damagedSandboxes: DamagedSandboxes;
  readonly rules: RuleRepair;
}

type Findings = { readonly repaired: RepairItem[]; readonly kept: RepairItem[] };

/** What is lost if a record is recreated from others. */
const LOST = ["annotations", "labels", "sysctls", "the process that its namespace was borrowed from"];

/**
 * Repairs damaged records of sandboxes, and puts back the rules that attachments have lost. A record with one wrong bit is
 * restored; any other is recreated from the records of its attachments, its namespace and the index of names. Records of a newer
 * version are not changed.
 */
export class Repair {
  readonly #context: RepairContext;

  constructor(context: RepairContext) {
    this.#context = context;
  }

  /**
   * Repairs the damaged records, then the rules, and then links if the request says so.
   *
   * @throws {CniError} kind `not-found` if there is no such sandbox
   */
  async repair(request: RepairRequest = {}, { signal }: CallOptions = {}): Promise<RepairReport> {
    return await withCniErrors(async () => {
      const found: Findings = { repaired: [], kept: [] };
      const named = await this.#named(request);
      for (const id of named ?? await this.#damagedIds()) {
        signal?.throwIfAborted();
        await using _lock = await this.#context.locks.containers.hold(id, signal);
        await this.#repair(id, request, found);
      }
      await this.#repairRules(named, request, found, signal);
      if (request.links) await this.#repairLinks(named, request, found, signal);
      return found;
    });
  }

  async #named({ sandbox, namespace = "default" }: RepairRequest): Promise<readonly string[] | undefined> {
    if (sandbox === undefined) return undefined;
    const { sandboxes, damagedSandboxes } = this.#context;
    const ids = new Set<string>();
    for (const name of [sandbox].flat()) {
      const isDamaged = isContainerId(name) && await sandboxes.damagedOf(name) !== undefined;
      ids.add(isDamaged ? name : (await findSandbox(sandboxes, name, { namespace, damagedSandboxes })).id);
    }
    return [...ids];
  }

  async #damagedIds(): Promise<readonly string[]> {
    const { sandboxes, store } = this.#context;
    const { damaged } = await sandboxes.scan();
    const lost = (await store.scanAll()).damaged.map(({ containerId }) => containerId);
    return [...new Set([...damaged.map(({ id }) => id), ...lost])];
  }

  async #repairRules(
    containers: readonly string[] | undefined,
    { dryRun = false }: RepairRequest,
    found: Findings,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { rules } = this.#context;
    const request = { containers, forwarding: true, signal };
    const lost = dryRun ? await rules.find(request) : (await rules.repair(request)).lost;
    for (const { containerId, network, ifName, missing, error } of lost) {
      const item = { kind: "rules", containerId, network, ifName } as const;
      const why = [...missing, ...error === undefined ? [] : [error.message]].join("; ");
      (error === undefined ? found.repaired : found.kept).push({ ...item, why });
    }
  }

  async #repairLinks(
    containers: readonly string[] | undefined,
    { dryRun }: RepairRequest,
    found: Findings,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    for (const id of containers ?? await this.#context.sandboxes.ids()) {
      signal?.throwIfAborted();
      await using _lock = await this.#context.locks.containers.hold(id, signal);
      const broken = await repairLinks(id, { dryRun, signal }, this.#context);
      for (const { why, error, ...key } of broken) {
        const item = { kind: "links", ...key } as const;
        if (error === undefined) found.repaired.push({ ...item, why });
        else found.kept.push({ ...item, why: `${why}; ${error.message}` });
      }
      const record = dryRun || broken.length === 0 ? undefined : await this.#context.sandboxes.read(id);
      if (record !== undefined) await putInside(record, this.#context);
    }
  }

  async #repair(id: string, { dryRun = false }: RepairRequest, found: Findings): Promise<void> {
    const { sandboxes, store } = this.#context;
    for (const each of await store.damaged(id)) await this.#repairAttachment(each, dryRun, found);
    const damaged = await sandboxes.damagedOf(id);
    if (damaged === undefined) return;
    const item = { kind: "sandbox", containerId: id, file: damaged.file } as const;
    if (damaged.isNewer) {
      return void found.kept.push({ ...item, why: this.#context.damagedSandboxes.why(damaged) });
    }
    const restored = await repairSandbox(await bytesOf(damaged.file));
    const isRestored = restored?.id === id;
    const record = isRestored ? restored : await this.#recreate(damaged);
    if (record === undefined) {
      const why = "nothing of the sandbox exists: `podwire recover` removes the record";
      return void found.kept.push({ ...item, why });
    }
    const why = isRestored
      ? "one bit was wrong, and everything was restored"
      : "recreated from other records";
    const lost = isRestored ? {} : { lost: lostOf(record) };
    if (dryRun) return void found.repaired.push({ ...item, why, ...lost });
    await sandboxes.repair(record);
    found.repaired.push({ ...item, why, ...lost });
  }

  async #repairAttachment(damaged: DamagedAttachment, dryRun: boolean, found: Findings): Promise<void> {
    const { containerId, ifName, file, isNewer, reason } = damaged;
    const item = { kind: "attachment", containerId, file } as const;
    const { store } = this.#context;
    const record = isNewer ? undefined : await repairAttachment(await bytesOf(file), damaged);
    if (record?.containerId !== containerId || record.ifName !== ifName) {
      const why = isNewer
        ? "a newer version of podwire wrote it: upgrade podwire"
        : `it cannot be recreated (${reason}): \`podwire recover\` detaches it when it is not in use`;
      return void found.kept.push({ ...item, why });
    }
    const why = "one bit was wrong, and everything was restored";
    if (!dryRun) await store.write(record);
    found.repaired.push({ ...item, why });
  }

  /** Recreates a record from other records; returns undefined if nothing of the sandbox exists. */
  async #recreate(damaged: DamagedRecord): Promise<SandboxRecord | undefined> {
    const { store, attachments, run } = this.#context;
    const { id, since } = damaged;
    const base = await this.#context.damagedSandboxes.of(id);
    if (base === undefined) return undefined;
    const records = (await store.ofContainer(id)).filter(({ state }) => state === "attached");
    const isUp = await this.#context.damagedSandboxes.isUp(damaged);
    const owner = records.find((record) => record.owner !== sandboxOwner(id))?.owner;
    const bundle = infraBundle(this.#context.stateDir, id);
    const pid = await pidOf(bundle);
    const start = pid === undefined ? undefined : (await readProcesses([pid], { run })).get(pid)?.start;
    const { reason: _, ...known } = base;
    return {
      ...known,
      ...namesOf(records, base),
      phase: isUp ? "ready" : "stopped",
      createdAt: records.map((record) => record.since).sort()[0] ?? since,
      bootId: records[0]?.bootId ?? await attachments.boot(),
      netns: await this.#netnsOf(base, records),
      pid,
      infra: await statOf(bundle) === undefined ? undefined : await infraOf(bundle),
      ...(owner === undefined ? {} : { owner }),
      ...(start === undefined ? {} : { pidStart: start }),
    };
  }

  async #netnsOf({ id, netns }: SandboxRecord, records: readonly AttachmentRecord[]) {
    const { netnsDir, netnsPrefix } = this.#context;
    const own = `${netnsDir}/${netnsPrefix}${id}`;
    if (await netnsId(own) !== undefined) return { path: own, owned: true, ...await identityOf(own) };
    const path = records[0]?.netns ?? netns.path;
    return { path, owned: path === own, ...await identityOf(path) };
  }
}

/** The arguments of the ADD contain more than the index. */
function namesOf(records: readonly AttachmentRecord[], { name, namespace, id }: SandboxRecord) {
  const args = new Map(records.flatMap(({ cniArgs }) => cniArgs));
  const nameOf = (key: string, fallback: string) => {
    const value = args.get(key);
    return value !== undefined && isContainerId(value) ? value : fallback;
  };
  return {
    // A warm sandbox gets its final name after the ADD.
    name: name === id ? nameOf("K8S_POD_NAME", name) : name,
    namespace: name === id ? nameOf("K8S_POD_NAMESPACE", namespace) : namespace,
    uid: args.get("K8S_POD_UID") || id,
  };
}

function lostOf({ uid, id }: SandboxRecord): readonly string[] {
  return [
    ...(uid === id ? ["the UID and the attempt, if it had any"] : ["the attempt, if it had one"]),
    ...LOST,
  ];
}

async function bytesOf(file: string): Promise<Uint8Array> {
  return await readOwnBytes(file, LARGEST_LOG).catch(() => undefined) ?? new Uint8Array();
}

async function pidOf(bundle: string): Promise<number | undefined> {
  const pid = Number((await readTextIfThere(`${bundle}/pid`))?.trim());
  return Number.isInteger(pid) && pid > 1 ? pid : undefined;
}
