import type { SandboxRecord } from "./record.ts";
import type { Sandbox, SandboxState } from "./view.ts";

/** Selects the sandboxes that match all of these members. */
export interface SandboxFilter {
  /** Prefix of the ID. */
  readonly id?: string | undefined;
  /** The full name. */
  readonly name?: string | undefined;
  /** Namespace of the name. */
  readonly namespace?: string | undefined;
  /** The current state. */
  readonly state?: SandboxState | undefined;
  /** Labels with these values; `undefined` matches any value. */
  readonly labels?: Readonly<Record<string, string | undefined>> | undefined;
}

/** As a filter, and by what only its record shows. */
export interface SandboxSelection extends SandboxFilter {
  /** Whether it belongs to a client of the CRI. */
  readonly ofCri?: boolean | undefined;
  /** Whether it attaches a pod of a container engine to more networks. */
  readonly ofNri?: boolean | undefined;
  /** Whether it was made: one that is being made, or undone, was not. */
  readonly isMade?: boolean | undefined;
}

/** Whether a sandbox can match, judged by its record. */
export function mayMatch(
  { id, name, namespace, phase, cri, nri, labels = {} }: SandboxRecord,
  filters: readonly SandboxSelection[],
): boolean {
  return filters.every((filter) =>
    id.startsWith(filter.id ?? "") && name === (filter.name ?? name) &&
    namespace === (filter.namespace ?? namespace) &&
    (cri !== undefined) === (filter.ofCri ?? cri !== undefined) &&
    (nri !== undefined) === (filter.ofNri ?? nri !== undefined) &&
    (phase !== "creating") === (filter.isMade ?? phase !== "creating") &&
    Object.entries(filter.labels ?? {}).every(([key, value]) =>
      Object.hasOwn(labels, key) && labels[key] === (value ?? labels[key])
    )
  );
}

/** Whether a sandbox for which {@linkcode mayMatch} is true is in the wanted state. */
export function isInState({ state }: Sandbox, filters: readonly SandboxFilter[]): boolean {
  return filters.every((filter) => state === (filter.state ?? state));
}
