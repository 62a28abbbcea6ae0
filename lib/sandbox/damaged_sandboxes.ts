import { statOf } from "../host/file.ts";
import { inParallel } from "../async/parallel.ts";
import { netnsId } from "../host/netns.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { NEWER } from "../state/checksummed.ts";
import { sandboxOwner } from "../state/owner.ts";
import { isContainerId } from "../cni/name.ts";
import { infraBundle, runtimeOf } from "./infra.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxRecord } from "./record.ts";
import type { DamagedRecord } from "./damaged_record.ts";

const LOOKS_AT_ONCE = 16;

/** What {@linkcode DamagedSandboxes} looks with. */
export interface DamagedSandboxesContext
  extends Pick<SandboxContext, "sandboxes" | "stateDir" | "netnsDir" | "netnsPrefix"> {
  readonly store: AttachmentStore;
  /** What is asked for the namespaces of attachments whose records cannot be read. */
  readonly cache: Pick<ResultCache, "read">;
}

/**
 * Sandboxes whose records cannot be used, as far as there is something of them: a namespace, an infra container,
 * attachments. They can be shown, and damaged ones repaired and removed like others.
 */
export class DamagedSandboxes {
  readonly #context: DamagedSandboxesContext;

  constructor(context: DamagedSandboxesContext) {
    this.#context = context;
  }

  /** As far as there is something of these. */
  async recordsOf(damaged: readonly DamagedRecord[]): Promise<readonly SandboxRecord[]> {
    const found = await inParallel(damaged, LOOKS_AT_ONCE, (record) => this.#look(record));
    return found.filter((record) => record !== undefined);
  }

  /** That of the ID, if its record cannot be used and there is something of it. */
  async of(id: string): Promise<SandboxRecord | undefined> {
    const damaged = await this.#context.sandboxes.damagedOf(id);
    return damaged && await this.#look(damaged);
  }

  /** Whether a sandbox counts as there: its record can be used, or is a newer version's, or its namespace is there. */
  async counts(id: string): Promise<boolean> {
    const found = await this.#context.sandboxes.look(id);
    if (found === undefined) return false;
    return !("text" in found) || found.isNewer || await this.isUp(found);
  }

  /** Whether a sandbox whose record is damaged may be up: a namespace that it may have is there. */
  async isUp({ id, remnants: { path } }: DamagedRecord): Promise<boolean> {
    const { store, cache } = this.#context;
    for (const place of [this.#ownNetns(id), ...(path === undefined ? [] : [path])]) {
      if (await netnsId(place) !== undefined) return true;
    }
    const { records, damaged } = await store.scan(id);
    for (const record of records) if (await isStillIn(record)) return true;
    for (const each of damaged) {
      const entry = await cache.read(each).catch(() => undefined);
      const netns = entry?.netns || each.netns;
      if (netns !== undefined && await netnsId(netns) !== undefined) return true;
    }
    return false;
  }

  /** Why a sandbox is kept whose record cannot be used. */
  why({ id, file, reason, isNewer }: DamagedRecord): string {
    if (isNewer) return `its record ${file} ${NEWER}`;
    return `its record ${file} cannot be read (${reason}), and its namespace is there, so it counts as up: ` +
      `\`podwire repair ${id}\` makes the record anew, \`podwire rm -f ${id}\` removes the sandbox`;
  }

  #ownNetns(id: string): string {
    const { netnsDir, netnsPrefix } = this.#context;
    return `${netnsDir}/${netnsPrefix}${id}`;
  }

  /** A record as far as it can be told from what is there. */
  async #look(damaged: DamagedRecord): Promise<SandboxRecord | undefined> {
    const { sandboxes, store, stateDir } = this.#context;
    const { id, file, reason, since, isNewer, remnants } = damaged;
    if (!isContainerId(id)) return undefined;
    const bundle = infraBundle(stateDir, id);
    const hasInfra = await statOf(bundle) !== undefined;
    const path = this.#ownNetns(id);
    const hasNetns = await statOf(path) !== undefined;
    // What could not be detached is nobody's any more, as with `podwire rm -f`.
    const [attachment] = (await store.ofContainer(id)).filter(({ owner, state }) =>
      owner === sandboxOwner(id) && state !== "failed"
    );
    const isThere = isNewer || hasInfra || hasNetns || attachment !== undefined || await this.isUp(damaged);
    if (!isThere) return undefined;
    const netns = attachment?.netns ?? (hasNetns ? path : remnants.path ?? path);
    const left =
      "not all of it is taken down: `podwire repair` makes the record anew, `podwire rm -f` removes the sandbox";
    return {
      id,
      ...await sandboxes.nameOf(id) ?? nameIn(damaged) ?? { name: id, namespace: "default" },
      uid: id,
      phase: "stopped",
      createdAt: since,
      bootId: attachment?.bootId ?? "",
      netns: { path: netns, owned: netns === path, id: attachment?.netnsId },
      pid: undefined,
      infra: hasInfra ? { runtime: await runtimeOf(bundle), bundle } : undefined,
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

/** Whether the namespace that it was attached in is there. */
async function isStillIn({ netns, netnsId: known }: AttachmentRecord): Promise<boolean> {
  return known !== undefined && await netnsId(netns) === known;
}
