import { netnsId, nsProblem } from "../host/netns.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { AttachmentKey, AttachmentStore } from "../state/attachment_store.ts";
import type { Removal } from "./removal.ts";

/**
 * Refuses a path that does not lead to the network namespace that was attached. Plugins cannot be relied on for that:
 * the CHECK of many is empty.
 *
 * @throws {CniError} kind `not-found`, code 8
 */
export async function requireSameNetns(
  key: AttachmentKey,
  netns: string,
  store: AttachmentStore,
  removal: Removal,
): Promise<void> {
  const { containerId, ifName } = key;
  const refusal = (why: string) =>
    new CniError("not-found", `${netns} ${why}`, { code: ERROR_CODES.invalidNetns, containerId, ifName });
  const problem = await nsProblem(netns);
  if (problem !== undefined) throw refusal(problem);
  const record = await store.read(key);
  const isOther = record === undefined
    // Of what another runtime attached no identity is on record, only the path that it had.
    ? await isElsewhere((await removal.foreign(key))?.netns, netns)
    : record.netnsId !== undefined && !await removal.isInNetns(record, netns);
  if (isOther) throw refusal("leads to another network namespace than that of the attachment");
}

async function isElsewhere(known: string | undefined, netns: string): Promise<boolean> {
  const id = known && await netnsId(known);
  return id !== undefined && id !== "" && id !== await netnsId(netns);
}
