import type { NetworkConfigList } from "../cni/config.ts";

/**
 * The member of a list by which podwire knows the files that `network create` has made: when, ISO 8601. Runtimes keep members of
 * the list that they do not know to themselves, so no plugin gets it.
 */
export const CREATED = "podwireCreated";

/** Whether `network create` has made the file of a list. */
export function isCreated({ json }: NetworkConfigList): boolean {
  return Object.hasOwn(json, CREATED);
}
