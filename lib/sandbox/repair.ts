import type { CallOptions } from "../async/call_options.ts";
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
import { infraBundle, runtimeOf } from "./infra.ts";
import { identityOf } from "./netns_identity.ts";
import { repairSandbox, type SandboxRecord } from "./record.ts";

/** Which records {@linkcode Repair.repair} repairs. */
export interface RepairRequest {
  /** A name, an ID, or the prefix of an ID. @default {every sandbox whose record is damaged} */
  readonly sandbox?: string | undefined;
  /** Namespace of the name. @default {"default"} */
  readonly namespace?: string | undefined;
  /** Whether nothing is changed. @default {false} */
  readonly dryRun?: boolean | undefined;
}

/** Kinds of damaged records. */
export const REPAIR_KINDS = ["sandbox", "attachment"] as const;

/** One of {@linkcode REPAIR_KINDS}. */
export type RepairKind = typeof REPAIR_KINDS[number];

/** One record that was checked. */
export interface RepairItem {
  /** Whether it is the record of a sandbox or of an attachment. */
  readonly kind: RepairKind;
  /** ID of the sandbox, or of the container of the attachment. */
  readonly containerId: string;
  /** Path of the damaged record. */
  readonly file: string;
  /** How it was repaired, or why it was not. */
  readonly why: string;
  /** What could not be restored. */
  readonly lost?: readonly string[];
}

/** What a repair did, or would do in a dry run. */
export interface RepairReport {
  /** Records that were restored or recreated. */
  readonly repaired: readonly RepairItem[];
  /** Records that were not changed. */
  readonly kept: readonly RepairItem[];
}

/** The dependencies of {@linkcode Repair}. */
export interface RepairContext extends SandboxContext {
  readonly store: AttachmentStore;
  readonly damagedSandboxes: DamagedSandboxes;
}

type Findings = { readonly repaired: RepairItem[]; readonly kept: RepairItem[] };

/** What is lost if a record is recreated from others. */
const LOST = ["annotations", "labels", "sysctls", "the process that its namespace was borrowed from"];

/**
 * Repairs damaged records of sandboxes. A record with one wrong bit is restored; any other is recreated from the records of
 * its attachments, its namespace and the index of names. Records of a newer version are not changed.
 */
export class Repair {
  readonly #context: RepairContext;

  constructor(context: RepairContext) {
    this.#context = context;
  }

  /**
   * Repairs the damaged records.
   *
   * @throws {CniError} kind `not-found` if there is no such sandbox
   */
  async repair(request: RepairRequest = {}, { signal }: CallOptions = {}): Promise<RepairReport> {
    return await withCniErrors(async () => {
      const found: Findings = { repaired: [], kept: [] };
      for (const id of await this.#idsOf(request)) {
        signal?.throwIfAborted();
        await using _lock = await this.#context.locks.containers.hold(id, signal);
        await this.#repair(id, request, found);
      }
      return found;
    });
  }

  async #idsOf({ sandbox, namespace = "default" }: RepairRequest): Promise<readonly string[]> {
    const { sandboxes, store } = this.#context;
    if (sandbox !== undefined) {
      if (isContainerId(sandbox) && await sandboxes.damagedOf(sandbox) !== undefined) return [sandbox];
      return [
        (await findSandbox(sandboxes, sandbox, {
          namespace,
          damagedSandboxes: this.#context.damagedSandboxes,
        })).id,
      ];
    }
    const { damaged } = await sandboxes.scan();
    const lost = (await store.scanAll()).damaged.map(({ containerId }) => containerId);
    return [...new Set([...damaged.map(({ id }) => id), ...lost])];
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
      infra: await statOf(bundle) === undefined ? undefined : { runtime: await runtimeOf(bundle), bundle },
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
