import type { NetworkConfigList } from "../cni/config.ts";
import type { CniError } from "../cni/error.ts";
import type { GcFacts, GcSelection } from "./verdict.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { listOnRecord } from "../state/recorded_config.ts";

/** What a sweep is to do. */
export interface GcRequest extends GcSelection {
  /** Only this network, by its name; then no namespace is looked at. @default all networks */
  readonly network?: string | undefined;
  /** Runs no plugin and changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
  /** Of how many containers attachments are removed at once. @default {4} */
  readonly concurrency?: number | undefined;
  /**
   * Milliseconds that all networks together may wait for a moment in which nothing is attached or detached. A network
   * that gets none is reported as failed: its plugins were not asked to clean up.
   *
   * @default {the time of an ADD, and half a minute}
   */
  readonly waitMs?: number | undefined;
  /**
   * Leaves out plugins that did not answer in time when they were asked last, for a while that grows each time: for
   * sweeps by a timer, since nothing can be attached to a network while its plugin hangs.
   *
   * @default {false}
   */
  readonly sparesHung?: boolean | undefined;
}

/** One thing that a sweep looked at. */
export interface GcItem {
  /**
   * What it is: an attachment, the record of a pod, a network namespace or infra container of podwire's, a plugin that
   * was asked to clean up, or a place in libcni's cache.
   */
  readonly kind: "attachment" | "sandbox" | "namespace" | "container" | "plugin" | "cache";
  /** Its network. */
  readonly network?: string;
  /** Of all but plugins and the cache. */
  readonly containerId?: string;
  /** Of an attachment. */
  readonly ifName?: string;
  /** Of an attachment or a namespace: the path of the namespace. */
  readonly netns?: string;
  /** The type of a plugin. */
  readonly plugin?: string;
  /** A file or folder of the cache. */
  readonly file?: string;
  /** Why it was removed or kept, or why it could not be. */
  readonly why: string;
  /** It was made by hand, and kept only because the request does not say whether it is in use. */
  readonly undecided?: true;
  /** What failed, whole. */
  readonly error?: CniError;
}

/** What a sweep did, or would do; `gc --json` prints it. */
export interface GcReport {
  /** What is gone now. */
  readonly removed: readonly GcItem[];
  /** What is in use, or not podwire's to remove. */
  readonly kept: readonly GcItem[];
  /** What could not be removed, and stays on record; plugins that did not clean up. */
  readonly failed: readonly GcItem[];
}

/** A report that is being written. */
export type Findings = Record<keyof GcReport, GcItem[]>;

/** What a sweep finds beside attachments, which only higher floors know of. */
export interface HostSweep {
  /**
   * Looks what there is, so that what is made from now on is left alone, and gives what removes it, or in a dry run only
   * tells of it.
   */
  snapshot(podsOwner: string | undefined): Promise<(options: HostSweepOptions) => Promise<Findings>>;
}

/** How the second half of a {@linkcode HostSweep} goes about it. */
export interface HostSweepOptions {
  readonly dryRun: boolean;
  readonly pods?: NonNullable<GcFacts["pods"]> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Why a thing is kept whose container somebody works on. */
export const UNDER_WAY = "an operation on it is under way";

/** What one sweep works on. */
export interface Sweep {
  readonly request: GcRequest;
  readonly signal: AbortSignal | undefined;
  /** What decides about attachments, the same for all of them. */
  readonly facts: Pick<GcFacts, "boot" | "valid" | "all" | "pods">;
  readonly report: Findings;
  /** By name, as they are configured now. */
  readonly current: ReadonlyMap<string, NetworkConfigList>;
  /** As they were before the sweep, the last attachment first. */
  readonly records: readonly AttachmentRecord[];
}

/** A report without entries. */
export function noFindings(): Findings {
  return { removed: [], kept: [], failed: [] };
}

/** What is told of an attachment. */
export function itemOf({ containerId, network, ifName, netns }: AttachmentRecord): Omit<GcItem, "why"> {
  return { kind: "attachment", containerId, network, ifName, netns };
}

/** The list on record; one that cannot be read is told of by the removal that fails on it. */
export function listIfReadable(record: AttachmentRecord): NetworkConfigList | undefined {
  try {
    return listOnRecord(record);
  } catch {
    return undefined;
  }
}
