import type { NetworkConfigList } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import type { AttachmentRecord, DamagedAttachment } from "../state/attachment_store.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import type { GcFacts, GcSelection, KnownPods } from "./verdict.ts";

/** What a sweep or a recovery found and did, while it is being written. */
export interface SweepReport<Item> {
  /** What was removed. */
  readonly removed: Item[];
  /** What is in use, or belongs to another runtime. */
  readonly kept: Item[];
  /** What could not be removed. */
  readonly failed: Item[];
}

/** Makes a report without entries. */
export function emptyReport<Item>(): SweepReport<Item> {
  return { removed: [], kept: [], failed: [] };
}

/** Adds the entries of another report to a report. */
export function addToReport<Item>(
  report: SweepReport<Item>,
  { removed, kept, failed }: { readonly [K in keyof SweepReport<Item>]: readonly Item[] },
): void {
  report.removed.push(...removed);
  report.kept.push(...kept);
  report.failed.push(...failed);
}

/** The members of a report's entry that identify an attachment. */
export function attachmentItem({ containerId, network, ifName, netns }: AttachmentRecord) {
  return { kind: "attachment", containerId, network, ifName, netns } as const;
}

/** What a sweep has to do. */
export interface GcRequest extends GcSelection {
  /** Only this network, by its name; then namespaces are not swept. @default all networks */
  readonly network?: string | undefined;
  /** Runs no plugin and changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
  /** Number of containers whose attachments are removed at once. @default {4} */
  readonly concurrency?: number | undefined;
  /**
   * Milliseconds that all networks together may wait for a moment in which nothing is attached or detached. A network
   * without such a moment is reported as failed: its plugins were not asked to clean up.
   *
   * @default {the time of an ADD, and half a minute}
   */
  readonly waitMs?: number | undefined;
  /**
   * Skips plugins that did not answer in time when they were asked last, for a period that grows each time. Meant for
   * sweeps by a timer, because nothing can be attached to a network while its plugin hangs.
   *
   * @default {false}
   */
  readonly skipHung?: boolean | undefined;
}

/** One thing that a sweep checked. */
export interface GcItem {
  /**
   * What it is: an attachment, the record of a pod, a network namespace or an infra container of podwire, a plugin that
   * was asked to clean up, a place in libcni's cache, or addresses in the directory of a plugin.
   */
  readonly kind: "attachment" | "sandbox" | "namespace" | "container" | "plugin" | "cache" | "addresses";
  /** The name of its network. */
  readonly network?: string;
  /** Not for plugins and the cache. */
  readonly containerId?: string;
  /** The interface of an attachment. */
  readonly ifName?: string;
  /** The path of the namespace, for an attachment or a namespace. */
  readonly netns?: string;
  /** The type of a plugin. */
  readonly plugin?: string;
  /** A file or folder of the cache. */
  readonly file?: string;
  /** Why it was removed or kept, or why it could not be removed. */
  readonly why: string;
  /** It was made by hand, and kept only because the request does not say whether it is in use. */
  readonly undecided?: true;
  /** The complete error. */
  readonly error?: CniError;
}

/** What a sweep did or, in a dry run, would do; `gc --json` prints it. */
export interface GcReport {
  /** What is gone now. */
  readonly removed: readonly GcItem[];
  /** What is in use, or does not belong to podwire. */
  readonly kept: readonly GcItem[];
  /** What could not be removed and stays on record, and plugins that did not clean up. */
  readonly failed: readonly GcItem[];
}

/** The report of garbage collection, while it is being written. */
export type GcFindings = SweepReport<GcItem>;

/** Sweeps the host for what is not an attachment. A higher layer implements it. */
export interface HostSweep {
  /**
   * Notes what exists, so that the sweep leaves alone what is made from now on. Returns the function that removes it or, in
   * a dry run, only reports it.
   */
  snapshot(podsOwner: string | undefined): Promise<(options: HostSweepOptions) => Promise<GcFindings>>;
}

/** Options of the second half of a {@linkcode HostSweep}. */
export interface HostSweepOptions {
  readonly dryRun: boolean;
  readonly pods?: KnownPods | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Why a thing is kept while another process works on its container. */
export const UNDER_WAY = "an operation on it is under way";

/** The state of one sweep. */
export interface Sweep {
  readonly request: GcRequest;
  readonly signal: AbortSignal | undefined;
  /** The facts that are the same for all attachments. */
  readonly facts: Pick<GcFacts, "boot" | "valid" | "all" | "pods">;
  readonly report: GcFindings;
  /** The networks by name, as they are configured now. */
  readonly current: ReadonlyMap<string, NetworkConfigList>;
  /** The records before the sweep, the last attachment first. */
  readonly records: readonly AttachmentRecord[];
  /** Those before the sweep that cannot be used. */
  readonly damaged: readonly DamagedAttachment[];
}

/** The list on record, or undefined if it cannot be read: then the removal fails and reports it. */
export function listIfReadable(record: AttachmentRecord): NetworkConfigList | undefined {
  try {
    return listOnRecord(record);
  } catch {
    return undefined;
  }
}
