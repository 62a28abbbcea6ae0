import { type Clock, systemClock } from "../async/clock.ts";
import { inParallel } from "../async/parallel.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import type { AttachmentRecord, AttachmentState, AttachmentStore } from "../state/attachment_store.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import type { Locks } from "../state/locks.ts";
import { Reading } from "./reading.ts";

/** Number of attachments by state, and since when the oldest one that could not be removed has failed. */
export interface AttachmentCounts {
  readonly states: Readonly<Record<AttachmentState, number>>;
  /** ISO 8601. */
  readonly oldestFailure: string | undefined;
}

/** Where the gauges read their values. */
export interface GaugeSources {
  readonly attachments: () => Promise<AttachmentCounts>;
  readonly sandboxes: () => Promise<readonly { readonly state: string }[]>;
  readonly networks: () => Promise<readonly Pick<CatalogEntry, "name" | "status">[]>;
  readonly readiness: () => Promise<readonly Pick<NetworkStatus, "network" | "ready" | "reason">[]>;
}

/** The sources that gauges read. */
export const GAUGE_PARTS = ["attachments", "sandboxes", "networks", "readiness"] as const;

/** One of {@linkcode GAUGE_PARTS}. */
export type GaugePart = typeof GAUGE_PARTS[number];

/** The last value of each source; absent for a source that could not be read, or not in time. */
export type GaugeValues = { readonly [Part in GaugePart]?: Awaited<ReturnType<GaugeSources[Part]>> };

/**
 * Reads the values of gauges on demand. A value that is slow to read stays fresh for longer. A value that is not fresh is
 * read again, and the caller waits for it only for a short time.
 */
export class Gauges {
  readonly #parts: { readonly [Part in GaugePart]: Reading<unknown> };

  constructor(sources: GaugeSources, clock: Clock = systemClock) {
    const { attachments, sandboxes, networks, readiness } = sources;
    this.#parts = {
      attachments: new Reading(attachments, clock),
      sandboxes: new Reading(sandboxes, clock),
      networks: new Reading(networks, clock),
      readiness: new Reading(readiness, clock),
    };
  }

  /** Returns the current values. */
  async read(): Promise<GaugeValues> {
    const values = await Promise.all(
      GAUGE_PARTS.map(async (part) => [part, await this.#parts[part].get()] as const),
    );
    return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as GaugeValues;
  }
}

/** Where {@linkcode countAttachments} reads. */
export interface CountSources {
  readonly store: AttachmentStore;
  readonly failed: FailedIndex;
  readonly locks: Locks;
}

const CONTAINERS_AT_ONCE = 16;

/**
 * Counts the attachments by state. It reads only the records whose state may be another than `attached`: those of
 * containers with an operation that is in progress, was interrupted, or failed.
 */
export async function countAttachments({ store, failed, locks }: CountSources): Promise<AttachmentCounts> {
  const { count } = await store.index();
  const unsettled = new Set([...await failed.containers(), ...await locks.containers.list()]);
  const records = await inParallel([...unsettled], CONTAINERS_AT_ONCE, (id) => store.ofContainer(id));
  const others = records.flat().filter(({ state }) => state !== "attached");
  const of = (state: AttachmentState) => others.filter((record) => record.state === state);
  const failures = of("failed");
  const states = { adding: of("adding").length, deleting: of("deleting").length, failed: failures.length };
  return {
    // Attachments that are made or removed between the two reads must not make the number negative.
    states: { ...states, attached: Math.max(0, count - others.length) },
    oldestFailure: failures.map(({ since }: AttachmentRecord) => since).sort()[0],
  };
}
