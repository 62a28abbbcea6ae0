import { attachmentId, type AttachmentKey, attachmentKey } from "../state/attachment_key.ts";

/** An attachment that is not as its ADD left it. */
export interface Drift extends AttachmentKey {
  /** What a CHECK says of it. */
  readonly why: string;
  /** Since when that is known, ISO 8601. */
  readonly since: string;
}

/**
 * What has happened to an attachment: it has drifted, its rules were put back, or it is as its ADD left it again; it may be gone as
 * well then.
 */
export const DRIFT_STATES = ["drifted", "repaired", "well"] as const;

/** One of {@linkcode DRIFT_STATES}. */
export type DriftState = typeof DRIFT_STATES[number];

/** A change of an attachment. */
export interface DriftChange extends AttachmentKey {
  readonly state: DriftState;
  /** What is wrong, or was; empty if it is well. */
  readonly why: string;
}

/** What looks at attachments: for lost rules, or by CHECK. */
export type DriftSource = "rules" | "check";

/** The attachments that have drifted, as a process that keeps running knows them. */
export class Drifts {
  readonly #found = new Map<string, Map<DriftSource, Drift>>();
  readonly #listeners = new Set<(change: DriftChange) => void>();

  /** Those that have drifted, each once. */
  get current(): readonly Drift[] {
    return [...this.#found.values()].flatMap((bySource) => [...bySource.values()].slice(0, 1));
  }

  /** Whether an attachment has drifted. */
  has(key: AttachmentKey): boolean {
    return this.#found.has(attachmentId(key));
  }

  /** Calls `listener` with each change from now on, until disposed of. */
  onChange(listener: (change: DriftChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Takes what a source has found about an attachment; `why` is undefined if nothing is wrong. */
  take(source: DriftSource, attachment: AttachmentKey, why: string | undefined): void {
    const key = attachmentKey(attachment);
    const id = attachmentId(key);
    const bySource = this.#found.get(id) ?? new Map<DriftSource, Drift>();
    const before = bySource.size;
    if (why === undefined) bySource.delete(source);
    else {
      const since = bySource.get(source)?.since ?? new Date().toISOString();
      bySource.set(source, { ...key, why, since });
    }
    if (bySource.size === 0) this.#found.delete(id);
    else this.#found.set(id, bySource);
    if (before === 0 && why !== undefined) this.#emit({ ...key, state: "drifted", why });
    if (before > 0 && bySource.size === 0) this.#emit({ ...key, state: "well", why: "" });
  }

  /** Takes all that a source has found: what it did not find is well. */
  takeAll(source: DriftSource, found: readonly (AttachmentKey & { readonly why: string })[]): void {
    const ids = new Set(found.map(attachmentId));
    for (const [id, bySource] of [...this.#found]) {
      const drift = bySource.get(source);
      if (drift !== undefined && !ids.has(id)) this.take(source, drift, undefined);
    }
    for (const each of found) this.take(source, each, each.why);
  }

  /** Takes note that the rules of an attachment were put back. */
  repaired(attachment: AttachmentKey, why: string): void {
    this.#emit({ ...attachmentKey(attachment), state: "repaired", why });
  }

  #emit(change: DriftChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
