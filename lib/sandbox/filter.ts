import type { SandboxRecord } from "./record.ts";
import type { Sandbox, SandboxState } from "./view.ts";

/** Which sandboxes are meant: those for which all of this holds. */
export interface SandboxFilter {
  /** What their IDs begin with. */
  readonly id?: string | undefined;
  /** Their name, whole. */
  readonly name?: string | undefined;
  /** The namespace of their name. */
  readonly namespace?: string | undefined;
  /** The state that they are in now. */
  readonly state?: SandboxState | undefined;
  /** Labels that they have, with these values; `undefined` for any. */
  readonly labels?: Readonly<Record<string, string | undefined>> | undefined;
}

/** Whether a sandbox can be meant, as far as its record tells. */
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

/** Whether a sandbox that {@linkcode mayMatch} is in the wanted state. */
export function isInState({ state }: Sandbox, filters: readonly SandboxFilter[]): boolean {
  return filters.every((filter) => state === (filter.state ?? state));
}
