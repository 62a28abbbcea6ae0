import { readTextIfThere } from "../host/file.ts";
import { netnsId } from "../host/netns.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { CniError } from "../cni/error.ts";
import type { Attachments } from "../attachment/attachments.ts";
import type {
  AttachmentKey,
  AttachmentRecord,
  AttachmentStore,
  DamagedAttachment,
} from "../state/attachment_store.ts";
import { parseRecorded } from "../state/recorded_config.ts";
import type { LostAttachment, LostAttachments } from "../state/lost_attachments.ts";
import type { CachedAttachment, ResultCache } from "../state/result_cache.ts";
import { NEWER, readableMember } from "../state/checksummed.ts";
import { parseOwner, sandboxOwner } from "../state/owner.ts";
import { isShortened, isShortNameOf } from "../state/short_name.ts";

/** The parts that {@linkcode DamagedRecords} works with. */
export interface DamagedParts {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly attachments: Attachments;
  readonly running: RunningPrograms;
  readonly lost: LostAttachments;
  /** Where the namespace of a sandbox is that podwire makes itself. */
  readonly netnsOf: (containerId: string) => string;
}

/** What is known of the container beside its attachments. */
export interface DamagedFacts {
  /** Whether its sandbox is up, as far as can be told. */
  readonly isUp: boolean;
  /** The namespace of its sandbox, up or not. */
  readonly netns?: { readonly path: string; readonly id: string | undefined } | undefined;
  /** Nothing that was made by hand is in use. @default {false} */
  readonly all?: boolean | undefined;
  /** Only those of this network. @default those of all */
  readonly network?: string | undefined;
  /** Those of the container whose records seemed to be lost. @default {those in the namespace of its sandbox} */
  readonly lost?: readonly LostAttachment[] | undefined;
  /** Changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What became of an attachment whose record cannot be used, or is lost. */
export interface DamagedOutcome extends AttachmentKey {
  readonly became: "removed" | "kept" | "failed";
  /** Empty where nobody knows. */
  readonly netns: string;
  /** Where the record is, or was. */
  readonly file: string;
  readonly why: string;
  readonly error?: CniError;
}

/** What can still be read in a record whose checksum is wrong. It decides nothing alone. */
type Remnants = { readonly [K in "owner" | "netnsId" | "bootId"]?: string | undefined } & {
  readonly netnsSince?: number;
};

/** What is known of one of them. */
interface Found {
  /** What libcni's cache has of it; its names alone where that has nothing. */
  readonly entry: CachedAttachment | AttachmentKey;
  readonly file: string;
  readonly what: "is lost" | "cannot be read";
  readonly remnants: Remnants;
  /** The path of its namespace, where something else than the cache tells it. */
  readonly netns: string | undefined;
}

/**
 * Attachments whose records cannot be used, or are lost. What libcni's cache has of such a one is enough to take it up
 * again, to be detached once nobody uses it. One of a newer version is left alone.
 */
export class DamagedRecords {
  readonly #parts: DamagedParts;

  constructor(parts: DamagedParts) {
    this.#parts = parts;
  }

  /** The containers that have some, of that network or of any, with those whose records are lost. */
  async containers(network?: string): Promise<ReadonlyMap<string, readonly LostAttachment[]>> {
    const damaged = (await this.#parts.store.scanAll()).damaged.filter((each) => this.#isOf(each, network));
    const lost = (await this.#parts.lost.all()).filter((each) =>
      network === undefined || each.network === network
    );
    const byContainer = Map.groupBy(lost, ({ containerId }) => containerId);
    const ids = new Set([...damaged.map(({ containerId }) => containerId), ...byContainer.keys()]);
    return new Map([...ids].map((id) => [id, byContainer.get(id) ?? []]));
  }

  #isOf(damaged: DamagedAttachment, network: string | undefined): boolean {
    return network === undefined || isShortNameOf(damaged.network, network);
  }

  /** Detaches those of a container that are not in use, and tells of all. The caller holds the container's lock. */
  async settle(containerId: string, facts: DamagedFacts): Promise<readonly DamagedOutcome[]> {
    const outcomes: DamagedOutcome[] = [];
    for (const damaged of await this.#parts.store.damaged(containerId)) {
      if (!this.#isOf(damaged, facts.network)) continue;
      outcomes.push(await this.#settleDamaged(damaged, facts));
    }
    for (const seen of facts.lost ?? await this.#lostIn(containerId, facts)) {
      // Until the lock was held, others could do anything with it.
      const lost = await this.#parts.lost.again(seen);
      if (lost !== undefined) outcomes.push(await this.#settleLost(lost, facts));
    }
    return outcomes;
  }

  async #lostIn(containerId: string, { netns }: DamagedFacts): Promise<readonly LostAttachment[]> {
    return netns?.id === undefined ? [] : await this.#parts.lost.of(containerId, netns.id);
  }

  async #settleLost({ entry, file, origin }: LostAttachment, facts: DamagedFacts): Promise<DamagedOutcome> {
    return await this.#settle({ entry, file, remnants: origin, netns: origin.netns, what: "is lost" }, facts);
  }

  async #settleDamaged(damaged: DamagedAttachment, facts: DamagedFacts): Promise<DamagedOutcome> {
    const { containerId, ifName, network, file, netns } = damaged;
    if (damaged.isNewer) {
      const outcome = { containerId, network, ifName, netns: netns ?? "", file };
      return { ...outcome, became: "kept", why: `its record ${NEWER}` };
    }
    const entry = await this.#entryOf(damaged) ?? { containerId, network, ifName };
    const remnants = await remnantsOf(damaged);
    return await this.#settle({ entry, file, remnants, netns, what: "cannot be read" }, facts);
  }

  async #settle(found: Found, facts: DamagedFacts): Promise<DamagedOutcome> {
    const { entry, file, remnants, what } = found;
    const { containerId, ifName, network } = entry;
    const lost = `its record ${file} ${what}`;
    const outcome = { containerId, network, ifName, netns: "netns" in entry ? entry.netns : "", file };
    const byHand = `\`podwire del ${network} ${
      outcome.netns || "NETNS"
    } --id ${containerId} --ifname ${ifName}\``;
    if (facts.isUp) {
      const why = `${lost}; \`podwire stop\` or \`podwire rm\` of its sandbox detaches it`;
      return { ...outcome, became: "kept", why };
    }
    const list = "config" in entry ? parseRecorded(entry.config) : undefined;
    if (!("config" in entry) || list === undefined) {
      const why = `${lost}, and libcni's cache does not say how it was made: detach it with ${byHand}`;
      return { ...outcome, became: "failed", why };
    }
    if (!await this.#isUnused(entry, { ...remnants, netns: found.netns }, facts)) {
      const why = `${lost}, and nobody can tell whether it is in use: ${byHand} detaches it`;
      return { ...outcome, became: "kept", why };
    }
    const why = what === "is lost"
      ? "its record was lost, and nobody uses it"
      : "its record could not be read, and nobody uses it";
    if (facts.dryRun) return { ...outcome, became: "removed", why };
    try {
      const spoken = { config: list.text, cniVersion: list.cniVersion };
      await this.#detach(await this.#recordOf(entry, spoken, remnants, facts), facts);
      return { ...outcome, became: "removed", why };
    } catch (cause) {
      const error = asCniError(cause);
      return { ...outcome, became: "failed", why: error.message, error };
    }
  }

  async #detach(record: AttachmentRecord, { signal }: DamagedFacts): Promise<void> {
    const { store, attachments, running } = this.#parts;
    // What the plugins of a killed runtime still do must not happen after the DEL.
    await running.endAbandonedOf(record.containerId, signal);
    // From now on that is on record, whatever becomes of the DEL.
    await store.write(record);
    await attachments.remove(record, signal);
  }

  async #entryOf({ containerId, ifName, network }: DamagedAttachment): Promise<CachedAttachment | undefined> {
    const { cache } = this.#parts;
    // An entry that cannot be read is as good as none.
    const entry = await cache.read({ containerId, ifName, network }).catch(() => undefined);
    if (entry !== undefined || !isShortened(network)) return entry;
    const { entries } = await cache.list();
    return entries.find((each) =>
      each.containerId === containerId && each.ifName === ifName && isShortNameOf(network, each.network)
    );
  }

  /** The record of an attachment to be detached, as far as it is known. */
  async #recordOf(
    entry: CachedAttachment,
    spoken: Pick<AttachmentRecord, "config" | "cniVersion">,
    remnants: Remnants,
    facts: DamagedFacts,
  ): Promise<AttachmentRecord> {
    const { containerId, network, ifName, netns, cniArgs, capabilityArgs, result } = entry;
    const boot = await this.#parts.attachments.boot();
    const id = await netnsId(netns);
    const isSame = netns === this.#parts.netnsOf(containerId) ||
      (remnants.bootId === boot && remnants.netnsId === id) ||
      (facts.netns?.path === netns && facts.netns.id === id);
    return {
      ...{ containerId, network, ifName, netns, cniArgs, capabilityArgs, result },
      ...spoken,
      state: "deleting",
      // The path may lead to somebody else's namespace by now.
      netnsId: isSame ? id : undefined,
      ...(remnants.netnsSince === undefined ? {} : { netnsSince: remnants.netnsSince }),
      owner: remnants.owner ?? sandboxOwner(containerId),
      since: new Date().toISOString(),
      bootId: boot,
      sequence: 0,
      attempts: 0,
      nextTry: undefined,
      error: undefined,
    };
  }

  /** Its sandbox is down, but it may have been made by hand. */
  async #isUnused(
    entry: CachedAttachment,
    { owner, netns: other }: Remnants & Pick<DamagedAttachment, "netns">,
    facts: DamagedFacts,
  ): Promise<boolean> {
    const { containerId, netns } = entry;
    if (facts.all || facts.netns !== undefined || netns === this.#parts.netnsOf(containerId)) return true;
    if (owner !== undefined && parseOwner(owner).kind !== "manual") return true;
    // libcni's file has no checksum: where the record says another path, one of the two is wrong.
    return await netnsId(netns) === undefined && (other === undefined || other === netns);
  }
}

/** A whole record of another container in its place says nothing of this one. */
async function remnantsOf({ file, containerId }: DamagedAttachment): Promise<Remnants> {
  const text = await readTextIfThere(file).catch(() => undefined) ?? "";
  if (readableMember(text, "containerId") !== containerId) return {};
  const found = (key: "owner" | "netnsId" | "bootId") => {
    const value = readableMember(text, key);
    return value === undefined ? {} : { [key]: value };
  };
  return { ...found("owner"), ...found("netnsId"), ...found("bootId") };
}
