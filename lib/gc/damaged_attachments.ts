import type { Attachments } from "../attachment/attachments.ts";
import type { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { netnsId } from "../host/netns.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import type {
  AttachmentKey,
  AttachmentRecord,
  AttachmentStore,
  DamagedAttachment,
} from "../state/attachment_store.ts";
import { NEWER, readableMember } from "../state/checksummed.ts";
import type { LostAttachment, LostAttachments } from "../state/lost_attachments.ts";
import { parseOwner, sandboxOwner } from "../state/owner.ts";
import { parseRecorded } from "../state/recorded_config.ts";
import type { CachedAttachment, ResultCache } from "../state/result_cache.ts";
import { isShortened, isShortNameOf } from "../state/short_name.ts";

/** The dependencies of {@linkcode DamagedRecords}. */
export interface DamagedContext {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly attachments: Attachments;
  readonly running: RunningPrograms;
  readonly lost: LostAttachments;
  /** Returns the path of the namespace that podwire itself makes for a sandbox. */
  readonly netnsOf: (containerId: string) => string;
}

/** What is known about a container in addition to its attachments. */
export interface DamagedFacts {
  /** Whether its sandbox is up, as far as that is known. */
  readonly isUp: boolean;
  /** The namespace of its sandbox, whether that is up or not. */
  readonly netns?: { readonly path: string; readonly id: string | undefined } | undefined;
  /** No attachment made by hand is in use. @default {false} */
  readonly all?: boolean | undefined;
  /** Only attachments to this network. @default {all networks} */
  readonly network?: string | undefined;
  /** Attachments of the container whose records seem to be lost. @default {those in the namespace of its sandbox} */
  readonly lost?: readonly LostAttachment[] | undefined;
  /** Changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What was done with an attachment whose record is damaged or lost. */
export interface DamagedOutcome extends AttachmentKey {
  readonly became: "removed" | "kept" | "failed";
  /** Empty if unknown. */
  readonly netns: string;
  /** The path of the record, whether it still exists or not. */
  readonly file: string;
  readonly why: string;
  readonly error?: CniError;
}

/** What can still be read in a record with a wrong checksum. It never decides alone. */
type Remnants = { readonly [K in "owner" | "netnsId" | "bootId"]?: string | undefined } & {
  readonly netnsSince?: number;
};

/** What is known about one of these attachments. */
interface Found {
  /** Its entry in libcni's cache, or only its names if there is none. */
  readonly entry: CachedAttachment | AttachmentKey;
  readonly file: string;
  readonly what: "is lost" | "cannot be read";
  readonly remnants: Remnants;
  /** The path of its namespace, if a source other than the cache has it. */
  readonly netns: string | undefined;
}

/**
 * Attachments whose records are damaged or lost. An entry in libcni's cache is enough to detach such an attachment once it
 * is not in use. A record of a newer version is left alone.
 */
export class DamagedRecords {
  readonly #context: DamagedContext;

  constructor(context: DamagedContext) {
    this.#context = context;
  }

  /**
   * Returns the containers with such attachments, to that network or to any, each with the attachments whose records are
   * lost. `known` are those whose records are damaged.
   */
  async containers(
    known: readonly DamagedAttachment[],
    network?: string,
  ): Promise<ReadonlyMap<string, readonly LostAttachment[]>> {
    const damaged = known.filter((each) => this.#isOf(each, network));
    const lost = (await this.#context.lost.all()).filter((each) =>
      network === undefined || each.network === network
    );
    const byContainer = Map.groupBy(lost, ({ containerId }) => containerId);
    const ids = new Set([...damaged.map(({ containerId }) => containerId), ...byContainer.keys()]);
    return new Map([...ids].map((id) => [id, byContainer.get(id) ?? []]));
  }

  #isOf(damaged: DamagedAttachment, network: string | undefined): boolean {
    return network === undefined || isShortNameOf(damaged.network, network);
  }

  /** Detaches the damaged and lost attachments of a container that are not in use, and reports all. The caller holds the container's lock. */
  async removeUnused(containerId: string, facts: DamagedFacts): Promise<readonly DamagedOutcome[]> {
    const outcomes: DamagedOutcome[] = [];
    for (const damaged of await this.#context.store.damaged(containerId)) {
      if (!this.#isOf(damaged, facts.network)) continue;
      outcomes.push(await this.#removeDamaged(damaged, facts));
    }
    for (const seen of facts.lost ?? await this.#lostIn(containerId, facts)) {
      // Before the lock was taken, another process could change it.
      const lost = await this.#context.lost.recheck(seen);
      if (lost !== undefined) outcomes.push(await this.#removeLost(lost, facts));
    }
    return outcomes;
  }

  async #lostIn(containerId: string, { netns }: DamagedFacts): Promise<readonly LostAttachment[]> {
    return netns?.id === undefined ? [] : await this.#context.lost.of(containerId, netns.id);
  }

  async #removeLost({ entry, file, origin }: LostAttachment, facts: DamagedFacts): Promise<DamagedOutcome> {
    return await this.#remove({ entry, file, remnants: origin, netns: origin.netns, what: "is lost" }, facts);
  }

  async #removeDamaged(damaged: DamagedAttachment, facts: DamagedFacts): Promise<DamagedOutcome> {
    const { containerId, ifName, network, file, netns } = damaged;
    if (damaged.isNewer) {
      const outcome = { containerId, network, ifName, netns: netns ?? "", file };
      return { ...outcome, became: "kept", why: `its record ${NEWER}` };
    }
    const entry = await this.#entryOf(damaged) ?? { containerId, network, ifName };
    const remnants = remnantsOf(damaged);
    return await this.#remove({ entry, file, remnants, netns, what: "cannot be read" }, facts);
  }

  async #remove(found: Found, facts: DamagedFacts): Promise<DamagedOutcome> {
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
      const why = `${lost}, and it is unknown whether it is in use: ${byHand} detaches it`;
      return { ...outcome, became: "kept", why };
    }
    const why = what === "is lost"
      ? "its record was lost, and nothing uses it"
      : "its record could not be read, and nothing uses it";
    if (facts.dryRun) return { ...outcome, became: "removed", why };
    try {
      const config = { config: list.text, cniVersion: list.cniVersion };
      await this.#detach(await this.#recordOf(entry, config, remnants, facts), facts);
      return { ...outcome, became: "removed", why };
    } catch (cause) {
      const error = asCniError(cause);
      return { ...outcome, became: "failed", why: error.message, error };
    }
  }

  async #detach(record: AttachmentRecord, { signal }: DamagedFacts): Promise<void> {
    const { store, attachments, running } = this.#context;
    // Plugins of a killed runtime may still run. They must end before the DEL.
    await running.endAbandonedOf(record.containerId, signal);
    // From now on it is on record, even if the DEL fails.
    await store.write(record);
    await attachments.remove(record, signal);
  }

  async #entryOf({ containerId, ifName, network }: DamagedAttachment): Promise<CachedAttachment | undefined> {
    const { cache } = this.#context;
    // An unreadable entry counts as no entry.
    const entry = await cache.read({ containerId, ifName, network }).catch(() => undefined);
    if (entry !== undefined || !isShortened(network)) return entry;
    const { entries } = await cache.list();
    return entries.find((each) =>
      each.containerId === containerId && each.ifName === ifName && isShortNameOf(network, each.network)
    );
  }

  /** Builds the record of an attachment for its DEL, as far as it is known. */
  async #recordOf(
    entry: CachedAttachment,
    config: Pick<AttachmentRecord, "config" | "cniVersion">,
    remnants: Remnants,
    facts: DamagedFacts,
  ): Promise<AttachmentRecord> {
    const { containerId, network, ifName, netns, cniArgs, capabilityArgs, result } = entry;
    const boot = await this.#context.attachments.boot();
    const id = await netnsId(netns);
    const isSame = netns === this.#context.netnsOf(containerId) ||
      (remnants.bootId === boot && remnants.netnsId === id) ||
      (facts.netns?.path === netns && facts.netns.id === id);
    return {
      ...{ containerId, network, ifName, netns, cniArgs, capabilityArgs, result },
      ...config,
      state: "deleting",
      // The path may lead to another namespace by now.
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

  /** Whether the attachment is not in use. Its sandbox is down, but it may have been made by hand. */
  async #isUnused(
    entry: CachedAttachment,
    { owner, netns: other }: Remnants & Pick<DamagedAttachment, "netns">,
    facts: DamagedFacts,
  ): Promise<boolean> {
    const { containerId, netns } = entry;
    if (facts.all || facts.netns !== undefined || netns === this.#context.netnsOf(containerId)) return true;
    if (owner !== undefined && parseOwner(owner).kind !== "manual") return true;
    // libcni's file has no checksum: if the record has another path, one of the two is wrong.
    return await netnsId(netns) === undefined && (other === undefined || other === netns);
  }
}

/** Reads what is left of a record. A complete record of another container in its place says nothing about this one. */
function remnantsOf({ text, containerId }: DamagedAttachment): Remnants {
  if (readableMember(text, "containerId") !== containerId) return {};
  const found = (key: "owner" | "netnsId" | "bootId") => {
    const value = readableMember(text, key);
    return value === undefined ? {} : { [key]: value };
  };
  return { ...found("owner"), ...found("netnsId"), ...found("bootId") };
}
