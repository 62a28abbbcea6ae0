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

/** Whether a sandbox can match, judged by its record. */
export function mayMatch(
  { id, name, namespace, labels = {} }: SandboxRecord,
  filters: readonly SandboxFilter[],
): boolean {
  return filters.every((filter) =>
    id.startsWith(filter.id ?? "") && name === (filter.name ?? name) &&
    namespace === (filter.namespace ?? namespace) &&
    Object.entries(filter.labels ?? {}).every(([key, value]) =>
      Object.hasOwn(labels, key) && labels[key] === (value ?? labels[key])
    )
  );
}

/** Whether a sandbox for which {@linkcode mayMatch} is true is in the wanted state. */
export function isInState({ state }: Sandbox, filters: readonly SandboxFilter[]): boolean {
  return filters.every((filter) => state === (filter.state ?? state));
}
