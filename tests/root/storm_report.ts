/** The options of a storm, and its report. */
import type { PodRequest } from "../../lib/pod/request.ts";
import type { NetworkKey, StormPlugins } from "./storm_networks.ts";

export interface StormOptions {
  readonly plugins: StormPlugins;
  readonly pods: number;
  readonly seed: number;
  /** @default {16} */
  readonly concurrency?: number;
}

/** What pods request. */
export const REQUEST_KINDS = [
  "default network",
  "named network",
  "two networks",
  "requested address",
  "published port",
  "taken port",
] as const;
export type RequestKind = typeof REQUEST_KINDS[number];

/** What happened to a pod. */
export interface PodOutcome {
  readonly kind: RequestKind;
  /** The kind of the error if it was refused. */
  readonly refused: string | undefined;
  readonly setUpMs: number;
  readonly checkMs?: number;
  readonly tearDownMs?: number;
  /** At the tear-down, the files of its networks had other content, or were gone. */
  readonly changed?: boolean;
  /** The file of one of its networks was gone then. */
  readonly gone?: boolean;
  /** For how many milliseconds the configuration that it got had been replaced at its beginning. */
  readonly ageMs?: number;
}

export interface StormReport {
  readonly options: Required<StormOptions>;
  readonly outcomes: readonly PodOutcome[];
  readonly operations: ReadonlyMap<string, number>;
  readonly churnMs: number;
  readonly elapsedMs: number;
  /** How often the catalogue changed. */
  readonly reloads: number;
  /** How many of these had a file whose last good version was in use. */
  readonly stale: number;
  readonly calls: number;
  /** Violations, each a sentence. */
  readonly violations: readonly string[];
  /** What is left in the end. */
  readonly left: readonly string[];
}

/** A pod to set up, and the expected result. */
export interface StormPod {
  readonly kind: RequestKind;
  readonly containerId: string;
  readonly wanted: readonly { readonly key: NetworkKey; readonly ifName: string }[];
  readonly request: PodRequest;
}
