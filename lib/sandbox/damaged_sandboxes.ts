import { inParallel } from "../async/parallel.ts";
import { isContainerId } from "../cni/name.ts";
import { statOf } from "../host/file.ts";
import { netnsId } from "../host/netns.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { NEWER } from "../state/checksummed.ts";
import { sandboxOwner } from "../state/owner.ts";
import type { ResultCache } from "../state/result_cache.ts";
import type { SandboxContext } from "./context.ts";
import { type DamagedRecord, isDamaged } from "./damaged_record.ts";
import { infraBundle, infraOf } from "./infra.ts";
import type { SandboxRecord } from "./record.ts";

const READS_AT_ONCE = 16;

/** The dependencies of {@linkcode DamagedSandboxes}. */
export interface DamagedSandboxesContext
  extends Pick<SandboxContext, "sandboxes" | "stateDir" | "netnsDir" | "netnsPrefix"> {
  readonly store: AttachmentStore;
  /** Has the namespaces of attachments whose records cannot be read. */
  readonly cache: Pick<ResultCache, "read">;
}

/**
 * Sandboxes whose records cannot be used, if something of them still exists: a namespace, an infra container or attachments.
 * They are listed like other sandboxes; damaged ones can also be repaired and removed.
 */
export class DamagedSandboxes {
  readonly #context: DamagedSandboxesContext;

  constructor(context: DamagedSandboxesContext) {
    this.#context = context;
  }

  /** Returns a record for each of these of which something exists. */
  async recordsOf(damaged: readonly DamagedRecord[]): Promise<readonly SandboxRecord[]> {
    const found = await inParallel(damaged, READS_AT_ONCE, (record) => this.#reconstruct(record));
    return found.filter((record) => record !== undefined);
  }

  /** Returns a record for the ID if its own record cannot be used and something of the sandbox exists. */
  async of(id: string): Promise<SandboxRecord | undefined> {
    const damaged = await this.#context.sandboxes.damagedOf(id);
    return damaged && await this.#reconstruct(damaged);
  }

  /** Whether the sandbox exists: its record can be used, a newer version wrote it, or its namespace exists. */
  async exists(id: string): Promise<boolean> {
    const found = await this.#context.sandboxes.readAny(id);
    if (found === undefined) return false;
    return !isDamaged(found) || found.isNewer || await this.isUp(found);
  }

  /** Whether a sandbox with a damaged record may be up: a namespace that may belong to it exists. */
  async isUp({ id, remnants: { path } }: DamagedRecord): Promise<boolean> {
    const { store, cache } = this.#context;
    for (const place of [this.#ownNetns(id), ...(path === undefined ? [] : [path])]) {
      if (await netnsId(place) !== undefined) return true;
    }
    const { records, damaged } = await store.scan(id);
    for (const record of records) if (await hasItsNetns(record)) return true;
    for (const each of damaged) {
      const entry = await cache.read(each).catch(() => undefined);
      const netns = entry?.netns || each.netns;
      if (netns !== undefined && await netnsId(netns) !== undefined) return true;
    }
    return false;
  }

  /** Returns why a sandbox whose record cannot be used is kept. */
  why({ id, file, reason, isNewer }: DamagedRecord): string {
    if (isNewer) return `its record ${file} ${NEWER}`;
    return `its record ${file} cannot be read (${reason}), and its namespace exists, so it counts as up: ` +
      `\`podwire repair ${id}\` recreates the record, \`podwire rm -f ${id}\` removes the sandbox`;
  }

  #ownNetns(id: string): string {
    const { netnsDir, netnsPrefix } = this.#context;
    return `${netnsDir}/${netnsPrefix}${id}`;
  }

  /** Returns a record made from what still exists; undefined if nothing does. */
  async #reconstruct(damaged: DamagedRecord): Promise<SandboxRecord | undefined> {
    const { sandboxes, store, stateDir } = this.#context;
    const { id, file, reason, since, isNewer, remnants } = damaged;
    if (!isContainerId(id)) return undefined;
    const bundle = infraBundle(stateDir, id);
    const hasInfra = await statOf(bundle) !== undefined;
    const path = this.#ownNetns(id);
    const hasNetns = await statOf(path) !== undefined;
    // An attachment that could not be detached does not count, as with `podwire rm -f`.
    const [attachment] = (await store.ofContainer(id)).filter(({ owner, state }) =>
      owner === sandboxOwner(id) && state !== "failed"
    );
    const exists = isNewer || hasInfra || hasNetns || attachment !== undefined || await this.isUp(damaged);
    if (!exists) return undefined;
    const netns = attachment?.netns ?? (hasNetns ? path : remnants.path ?? path);
    const left =
      "not all of it is torn down: `podwire repair` recreates the record, `podwire rm -f` removes the sandbox";
    return {
      id,
      ...await sandboxes.nameOf(id) ?? nameIn(damaged) ?? { name: id, namespace: "default" },
      uid: id,
      phase: "stopped",
      createdAt: since,
      bootId: attachment?.bootId ?? "",
      netns: { path: netns, owned: netns === path, id: attachment?.netnsId },
      pid: undefined,
      infra: hasInfra ? await infraOf(bundle) : undefined,
      annotations: {},
      reason: isNewer
        ? `its record ${file} ${NEWER}`
        : `its record ${file} cannot be read (${reason}); ${left}`,
    };
  }
}

function nameIn({ remnants: { name, namespace } }: DamagedRecord) {
  if (name === undefined || namespace === undefined) return undefined;
  return isContainerId(name) && isContainerId(namespace) ? { name, namespace } : undefined;
}

/** Whether the namespace of the attachment still exists. */
async function hasItsNetns({ netns, netnsId: known }: AttachmentRecord): Promise<boolean> {
  return known !== undefined && await netnsId(netns) === known;
}
