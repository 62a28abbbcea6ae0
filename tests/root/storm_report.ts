/** What a storm is told, and what it tells. */
import type { PodRequest } from "../../lib/pod/request.ts";
import type { NetworkKey, StormPlugins } from "./storm_networks.ts";

export interface StormOptions {
  readonly plugins: StormPlugins;
  readonly pods: number;
  readonly seed: number;
  /** @default {16} */
  readonly concurrency?: number;
}

/** What pods ask for. */
export const REQUEST_KINDS = [
  "default network",
  "named network",
  "two networks",
  "requested address",
  "published port",
  "taken port",
] as const;
export type RequestKind = typeof REQUEST_KINDS[number];

/** What became of a pod. */
export interface PodOutcome {
  readonly kind: RequestKind;
  /** The kind of the error if it was refused. */
  readonly refused: string | undefined;
  readonly setUpMs: number;
  readonly checkMs?: number;
  readonly tearDownMs?: number;
  /** At the tear-down, the files of its networks said something else, or nothing any more. */
  readonly changed?: boolean;
  /** The file of one of its networks was gone then. */
  readonly gone?: boolean;
  /** How many milliseconds the configuration that it got had been replaced at its beginning. */
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
  /** How many of these had a file that stood in for itself with what it had said before. */
  readonly stale: number;
  readonly calls: number;
  /** What must not be: each a sentence. */
  readonly violations: readonly string[];
  /** What is left of it all. */
  readonly left: readonly string[];
}

/** A pod that is to be, and what it must come to. */
export interface StormPod {
  readonly kind: RequestKind;
  readonly containerId: string;
  readonly wanted: readonly { readonly key: NetworkKey; readonly ifName: string }[];
  readonly request: PodRequest;
}
