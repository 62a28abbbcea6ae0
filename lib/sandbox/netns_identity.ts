import { identityNow, identityOf, isSameIdentity } from "../host/netns_identity.ts";
import type { SandboxNetns } from "./record.ts";

export { identityOf, type NetnsIdentity } from "../host/netns_identity.ts";

/** Whether the path still leads to the namespace on record. */
export async function isUnchanged(
  { path, ...known }: Pick<SandboxNetns, "path" | "id" | "since">,
): Promise<boolean> {
  return isSameIdentity(known, await identityOf(path));
}

/** Same in the same turn of the event loop; undefined if only {@linkcode isUnchanged} can find out. */
export function isUnchangedNow(
  { path, ...known }: Pick<SandboxNetns, "path" | "id" | "since">,
): boolean | undefined {
  const now = identityNow(path);
  return now && isSameIdentity(known, now);
}
