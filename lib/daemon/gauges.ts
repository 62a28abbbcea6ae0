import { type Clock, systemClock } from "../async/clock.ts";
import type { Locks } from "../state/locks.ts";
import type { FailedIndex } from "../state/failed_index.ts";
import { inParallel } from "../async/parallel.ts";
import type { AttachmentRecord, AttachmentState, AttachmentStore } from "../state/attachment_store.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import type { CatalogEntry } from "../catalog/entry.ts";
import { settled } from "../async/wait.ts";

/** How many attachments there are, and since when the oldest that could not be removed waits. */
export interface AttachmentCounts {
  readonly states: Readonly<Record<AttachmentState, number>>;
  /** ISO 8601. */
  readonly oldestFailure: string | undefined;
}

/** What the gauges read. */
export interface GaugeSources {
  readonly attachments: () => Promise<AttachmentCounts>;
  readonly sandboxes: () => Promise<readonly { readonly state: string }[]>;
  readonly networks: () => Promise<readonly Pick<CatalogEntry, "name" | "status">[]>;
  readonly readiness: () => Promise<readonly Pick<NetworkStatus, "network" | "ready" | "reason">[]>;
}

/** The parts of what the gauges read. */
export const GAUGE_PARTS = ["attachments", "sandboxes", "networks", "readiness"] as const;

/** One of {@linkcode GAUGE_PARTS}. */
export type GaugePart = typeof GAUGE_PARTS[number];

/** What was read last of each part; nothing of a part that could not be read, or not in time. */
export type GaugeValues = { readonly [Part in GaugePart]?: Awaited<ReturnType<GaugeSources[Part]>> };

/** Whoever asks often is not what keeps the disk busy. */
const FRESH_MS = 2_000;
/** A value holds for this many times what it took to read: no more than a twentieth of the time is spent on it. */
const FRESH_TIMES_COST = 20;
/** Prometheus waits for 10 s. */
const LONGEST_WAIT_MS = 3_000;

/**
 * Reads the numbers that metrics show, when they are asked for and not oftener than is cheap: a value that is costly to
 * read holds for longer. A value that is no longer fresh is read anew, and waited for a short time only.
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

  /** What there is to know now. */
  async read(): Promise<GaugeValues> {
    const values = await Promise.all(
      GAUGE_PARTS.map(async (part) => [part, await this.#parts[part].get()] as const),
    );
    return Object.fromEntries(values.filter(([, value]) => value !== undefined)) as GaugeValues;
  }
}

/** One value, read by at most one at a time. */
class Reading<T> {
  #value: T | undefined;
  #freshUntil = -Infinity;
  #running: Promise<T | undefined> | undefined;

  constructor(private readonly source: () => Promise<T>, private readonly clock: Clock) {}

  async get(): Promise<T | undefined> {
    if (this.clock.now() < this.#freshUntil) return this.#value;
    this.#running ??= this.#read();
    // A late one shows what was known before; it is there for whoever asks next.
    return await settled(this.#running.then((value) => ({ value })), LONGEST_WAIT_MS)
      .then((done) => done === undefined ? this.#value : done.value);
  }

  async #read(): Promise<T | undefined> {
    const started = this.clock.now();
    try {
      this.#value = await this.source();
    } catch {
      // A number that is not there says more than an old one, and the others are shown all the same.
      this.#value = undefined;
    }
    const now = this.clock.now();
    this.#freshUntil = now + Math.max(FRESH_MS, (now - started) * FRESH_TIMES_COST);
    this.#running = undefined;
    return this.#value;
  }
}

/** Where attachments are counted. */
export interface CountSources {
  readonly store: AttachmentStore;
  readonly failed: FailedIndex;
  readonly locks: Locks;
}

const CONTAINERS_AT_ONCE = 16;

/**
 * Counts the attachments by their states. Only those records are read whose state may be another one than `attached`:
 * of containers on which an operation is under way, was interrupted, or failed.
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
    // What is made or removed between the two looks must not make it less than none.
    states: { ...states, attached: Math.max(0, count - others.length) },
    oldestFailure: failures.map(({ since }: AttachmentRecord) => since).sort()[0],
  };
}
