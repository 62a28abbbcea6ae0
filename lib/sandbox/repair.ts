import type { CallOptions } from "../async/call_options.ts";
import { readFileIfThere, readTextIfThere, statOf } from "../host/file.ts";
import { netnsId } from "../host/netns.ts";
import { readProcesses } from "../host/process.ts";
import type { AttachmentRecord, AttachmentStore, DamagedAttachment } from "../state/attachment_store.ts";
import { repairAttachment } from "../state/attachment_record.ts";
import { withContainerLock } from "../state/container_locks.ts";
import { sandboxOwner } from "../state/owner.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { isContainerId } from "../cni/name.ts";
import { findSandbox } from "./find_sandbox.ts";
import { infraBundle, runtimeOf } from "./infra.ts";
import { identityOf } from "./netns_identity.ts";
import type { SandboxContext } from "./context.ts";
import { repairSandbox, type SandboxRecord } from "./record.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import type { DamagedRecord } from "./damaged_record.ts";

/** How {@linkcode Repair.repair} goes about it. */
export interface RepairRequest {
  /** A name, an ID, or the beginning of one. @default {every sandbox whose record is damaged} */
  readonly sandbox?: string | undefined;
  /** Where the name is looked for. @default {"default"} */
  readonly namespace?: string | undefined;
  /** Changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
}

/** What a damaged record is of. */
export const REPAIR_KINDS = ["sandbox", "attachment"] as const;

/** One of {@linkcode REPAIR_KINDS}. */
export type RepairKind = typeof REPAIR_KINDS[number];

/** One record that was looked at. */
export interface RepairItem {
  /** Of an attachment, its record; else that of the sandbox. */
  readonly kind: RepairKind;
  /** The sandbox, or the container of the attachment. */
  readonly containerId: string;
  /** The damaged record. */
  readonly file: string;
  /** Where the damaged record was moved to. */
  readonly movedTo?: string;
  /** What became of it, or why nothing did. */
  readonly why: string;
  /** What cannot be known of it any more. */
  readonly lost?: readonly string[];
}

/** What a repair did, or would do. */
export interface RepairReport {
  /** What was made anew. */
  readonly repaired: readonly RepairItem[];
  /** What is left as it is. */
  readonly kept: readonly RepairItem[];
}

/** The parts that {@linkcode Repair} works with. */
export interface RepairContext extends SandboxContext {
  readonly store: AttachmentStore;
  readonly damagedSandboxes: DamagedSandboxes;
}

type Findings = { readonly repaired: RepairItem[]; readonly kept: RepairItem[] };

/** Of a record that had to be made from others. */
const LOST = ["annotations", "labels", "sysctls", "the process that its namespace was taken from"];

/**
 * Makes the records of sandboxes anew that are damaged: as they were, where one bit is wrong; else from the records of
 * their attachments, their namespaces and the index of names. Records of a newer version are left alone.
 */
export class Repair {
  readonly #context: RepairContext;

  constructor(context: RepairContext) {
    this.#context = context;
  }

  /**
   * Repairs what is damaged.
   *
   * @throws {CniError} kind `not-found` if there is no such sandbox
   */
  async repair(request: RepairRequest = {}, { signal }: CallOptions = {}): Promise<RepairReport> {
    return await withCniErrors(async () => {
      const found: Findings = { repaired: [], kept: [] };
      for (const id of await this.#idsOf(request)) {
        signal?.throwIfAborted();
        await withContainerLock(
          this.#context.locks,
          id,
          signal,
          () => this.#repair(id, request, found),
        );
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
    const mended = await repairSandbox(await readFileIfThere(damaged.file) ?? new Uint8Array());
    const isWhole = mended?.id === id;
    const record = isWhole ? mended : await this.#rebuilt(damaged);
    if (record === undefined) {
      const why = "nothing of the sandbox is there: `podwire recover` forgets it";
      return void found.kept.push({ ...item, why });
    }
    const why = isWhole ? "one bit was wrong, and all of it is known" : "made from what else is on record";
    const lost = isWhole ? {} : { lost: lostOf(record) };
    if (dryRun) return void found.repaired.push({ ...item, why, ...lost });
    const movedTo = await sandboxes.repair(record);
    found.repaired.push({ ...item, movedTo, why, ...lost });
  }

  async #repairAttachment(damaged: DamagedAttachment, dryRun: boolean, found: Findings): Promise<void> {
    const { containerId, ifName, file, isNewer, reason } = damaged;
    const item = { kind: "attachment", containerId, file } as const;
    const { store } = this.#context;
    const bytes = isNewer ? undefined : await readFileIfThere(file).catch(() => undefined);
    const record = bytes && await repairAttachment(bytes);
    if (record?.containerId !== containerId || record.ifName !== ifName || !file.endsWith(".json")) {
      const why = isNewer
        ? "it is of a newer version of podwire: upgrade podwire"
        : `it cannot be made anew (${reason}): \`podwire recover\` detaches it when nobody uses it`;
      return void found.kept.push({ ...item, why });
    }
    const why = "one bit was wrong, and all of it is known";
    if (!dryRun) {
      await store.makeRoom(record);
      await store.write(record);
    }
    found.repaired.push({ ...item, why });
  }

  /** From what else is on record; nothing if there is nothing of it. */
  async #rebuilt(damaged: DamagedRecord): Promise<SandboxRecord | undefined> {
    const { store, attachments, run } = this.#context;
    const { id, since } = damaged;
    const remains = await this.#context.damagedSandboxes.of(id);
    if (remains === undefined) return undefined;
    const records = (await store.ofContainer(id)).filter(({ state }) => state === "attached");
    const isUp = await this.#context.damagedSandboxes.isUp(damaged);
    const owner = records.find((record) => record.owner !== sandboxOwner(id))?.owner;
    const bundle = infraBundle(this.#context.stateDir, id);
    const pid = await pidOf(bundle);
    const start = pid === undefined ? undefined : (await readProcesses([pid], { run })).get(pid)?.start;
    const { reason: _, ...known } = remains;
    return {
      ...known,
      ...namesOf(records, remains),
      phase: isUp ? "ready" : "stopped",
      createdAt: records.map((record) => record.since).sort()[0] ?? since,
      bootId: records[0]?.bootId ?? await attachments.boot(),
      netns: await this.#netnsOf(remains, records),
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

/** What plugins were told at the ADD is more than the index knows. */
function namesOf(records: readonly AttachmentRecord[], { name, namespace, id }: SandboxRecord) {
  const told = new Map(records.flatMap(({ cniArgs }) => cniArgs));
  const nameOf = (key: string, otherwise: string) => {
    const value = told.get(key);
    return value !== undefined && isContainerId(value) ? value : otherwise;
  };
  return {
    // The pool gives its sandboxes another name later than the ADD.
    name: name === id ? nameOf("K8S_POD_NAME", name) : name,
    namespace: name === id ? nameOf("K8S_POD_NAMESPACE", namespace) : namespace,
    uid: told.get("K8S_POD_UID") || id,
  };
}

function lostOf({ uid, id }: SandboxRecord): readonly string[] {
  return [
    ...(uid === id ? ["the UID and the attempt, if it had any"] : ["the attempt, if it had one"]),
    ...LOST,
  ];
}

async function pidOf(bundle: string): Promise<number | undefined> {
  const pid = Number((await readTextIfThere(`${bundle}/pid`))?.trim());
  return Number.isInteger(pid) && pid > 1 ? pid : undefined;
}
