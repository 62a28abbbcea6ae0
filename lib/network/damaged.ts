import { readTextIfThere } from "../host/file.ts";
import { netnsId } from "../host/netns.ts";
import type { RunningPrograms } from "../host/running_programs.ts";
import { asCniError } from "../plugin/failure.ts";
import type { CniError } from "../spec/error.ts";
import type { Attachments } from "./network.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore, DamagedAttachment } from "./record.ts";
import { parseRecorded } from "./recorded.ts";
import type { CachedAttachment, ResultCache } from "./result_cache.ts";
import { NEWER, remnant } from "./sealed.ts";

/** The parts that {@linkcode DamagedRecords} works with. */
export interface DamagedParts {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly attachments: Attachments;
  readonly running: RunningPrograms;
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
  readonly all?: boolean;
  /** Only those of this network. @default those of all */
  readonly network?: string | undefined;
  /** Changes nothing. @default {false} */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** What became of an attachment whose record cannot be read. */
export interface DamagedOutcome extends AttachmentKey {
  readonly became: "removed" | "kept" | "failed";
  /** Empty where nobody knows. */
  readonly netns: string;
  /** Where the record is. */
  readonly file: string;
  readonly why: string;
  readonly error?: CniError;
}

/** What can still be read in a record whose checksum is wrong. It decides nothing alone. */
type Remnants = Partial<Record<"owner" | "netnsId" | "bootId", string>>;

/**
 * Attachments whose records cannot be used. What libcni's cache has of a damaged one is enough to take it up again, to be
 * detached once nobody uses it. One of a newer version is left alone.
 */
export class DamagedRecords {
  readonly #parts: DamagedParts;

  constructor(parts: DamagedParts) {
    this.#parts = parts;
  }

  /** The containers that have some, of that network or of any. */
  async containers(network?: string): Promise<readonly string[]> {
    const all = (await this.#parts.store.scanAll()).damaged.filter((each) => this.#isOf(each, network));
    return [...new Set(all.map(({ containerId }) => containerId))];
  }

  #isOf(damaged: DamagedAttachment, network: string | undefined): boolean {
    return network === undefined || this.#parts.store.isNamed(network, damaged.network);
  }

  /** Detaches those of a container that are not in use, and tells of all. The caller holds the container's lock. */
  async settle(containerId: string, facts: DamagedFacts): Promise<readonly DamagedOutcome[]> {
    const outcomes: DamagedOutcome[] = [];
    for (const damaged of await this.#parts.store.damaged(containerId)) {
      if (!this.#isOf(damaged, facts.network)) continue;
      outcomes.push(await this.#settle(damaged, facts));
    }
    return outcomes;
  }

  async #settle(damaged: DamagedAttachment, facts: DamagedFacts): Promise<DamagedOutcome> {
    const { containerId, ifName, file } = damaged;
    if (damaged.isNewer) {
      const { network, netns = "" } = damaged;
      return { containerId, network, ifName, netns, file, became: "kept", why: `its record ${NEWER}` };
    }
    const lost = `its record ${file} cannot be read`;
    const entry = await this.#entryOf(damaged);
    const network = entry?.network ?? damaged.network;
    const outcome = { containerId, network, ifName, netns: entry?.netns ?? "", file };
    const byHand = `\`podwire del ${network} ${
      outcome.netns || "NETNS"
    } --id ${containerId} --ifname ${ifName}\``;
    if (facts.isUp) {
      const why = `${lost}; take its sandbox down, then \`podwire recover\` detaches it`;
      return { ...outcome, became: "kept", why };
    }
    const list = parseRecorded(entry?.config);
    if (entry === undefined || list === undefined) {
      const why = `${lost}, and libcni's cache does not say how it was made: detach it with ${byHand}`;
      return { ...outcome, became: "failed", why };
    }
    const remnants = await remnantsOf(damaged);
    if (!await this.#isUnused(entry, { ...remnants, netns: damaged.netns }, facts)) {
      const why = `${lost}, and nobody can tell whether it is in use: ${byHand} detaches it`;
      return { ...outcome, became: "kept", why };
    }
    const why = "its record could not be read, and nobody uses it";
    if (facts.dryRun) return { ...outcome, became: "removed", why };
    try {
      const { store, attachments, running } = this.#parts;
      const record = await this.#recordOf(
        entry,
        { config: list.text, cniVersion: list.cniVersion },
        remnants,
        facts,
      );
      // What the plugins of a killed runtime still do must not happen after the DEL.
      await running.endAbandonedOf(containerId, facts.signal);
      // From now on that is on record, whatever becomes of the DEL.
      await store.write(record);
      await attachments.remove(record, facts.signal);
      return { ...outcome, became: "removed", why };
    } catch (cause) {
      const error = asCniError(cause);
      return { ...outcome, became: "failed", why: error.message, error };
    }
  }

  async #entryOf({ containerId, ifName, network }: DamagedAttachment): Promise<CachedAttachment | undefined> {
    const { store, cache } = this.#parts;
    // An entry that cannot be read is as good as none.
    const entry = await cache.read({ containerId, ifName, network }).catch(() => undefined);
    if (entry !== undefined || !store.isCut(network)) return entry;
    const { entries } = await cache.list();
    return entries.find((each) =>
      each.containerId === containerId && each.ifName === ifName && store.isNamed(each.network, network)
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
      owner: remnants.owner ?? `sandbox:${containerId}`,
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
    if (owner?.startsWith("sandbox:") || owner?.startsWith("pods:")) return true;
    // libcni's file has no checksum: where the record says another path, one of the two is wrong.
    return await netnsId(netns) === undefined && (other === undefined || other === netns);
  }
}

/** A whole record of another container in its place says nothing of this one. */
async function remnantsOf({ file, containerId }: DamagedAttachment): Promise<Remnants> {
  const text = await readTextIfThere(file).catch(() => undefined) ?? "";
  if (remnant(text, "containerId") !== containerId) return {};
  const found = (key: keyof Remnants) => {
    const value = remnant(text, key);
    return value === undefined ? {} : { [key]: value };
  };
  return { ...found("owner"), ...found("netnsId"), ...found("bootId") };
}
