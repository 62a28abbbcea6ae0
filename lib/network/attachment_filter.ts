import { validateContainerId, validateNetworkName } from "../spec/name.ts";
import type { FailedIndex } from "./failed_index.ts";
import type { AttachmentRecord, AttachmentStore } from "./record.ts";

/** Which attachments are meant: those that all members fit. */
export interface AttachmentFilter {
  /** Of this container. */
  readonly containerId?: string;
  /** To this network. */
  readonly network?: string;
  /** Those that could not be detached. @default {false} */
  readonly failed?: boolean;
}

/**
 * The attachments on record that are meant. Those of a container, and those that could not be detached, are found
 * without a look at any other.
 *
 * @throws {CniError} kind `usage` for a name that cannot be
 */
export async function findAttachments(
  { containerId, network, failed = false }: AttachmentFilter,
  parts: { readonly store: AttachmentStore; readonly failed: FailedIndex },
): Promise<readonly AttachmentRecord[]> {
  if (containerId !== undefined) validateContainerId(containerId);
  if (network !== undefined) validateNetworkName(network);
  const records = await candidates(containerId, failed, parts);
  return records.filter((record) =>
    (network === undefined || record.network === network) && (!failed || record.attempts > 0)
  );
}

async function candidates(
  containerId: string | undefined,
  failed: boolean,
  { store, failed: index }: { readonly store: AttachmentStore; readonly failed: FailedIndex },
): Promise<readonly AttachmentRecord[]> {
  if (containerId !== undefined) return await store.ofContainer(containerId);
  if (!failed) return await store.all();
  const found: AttachmentRecord[] = [];
  for (const id of await index.containers()) found.push(...await store.ofContainer(id));
  return found;
}
