import { inParallel } from "../async/parallel.ts";
import { ERROR_CODES } from "../cni/error.ts";
import { validateContainerId, validateNetworkName } from "../cni/name.ts";
import { statOf } from "../host/file.ts";
import type {
  AttachmentRecord,
  AttachmentStore,
  ContainerRecords,
  DamagedAttachment,
} from "./attachment_store.ts";
import type { FailedIndex } from "./failed_index.ts";
import { isShortNameOf } from "./short_name.ts";

const FILES_AT_ONCE = 16;

/** Selects the attachments that match all members. */
export interface AttachmentFilter {
  /** The container. */
  readonly containerId?: string | undefined;
  /** The network. */
  readonly network?: string | undefined;
  /** Only those that could not be detached. @default {false} */
  readonly failed?: boolean | undefined;
}

/**
 * Returns the attachments on record that match. With a container, or with `failed`, no other records are read. An
 * attachment whose record cannot be used counts as one that could not be detached.
 *
 * @throws {CniError} kind `usage` for an invalid name
 */
export async function findAttachments(
  { containerId, network, failed = false }: AttachmentFilter,
  context: { readonly store: AttachmentStore; readonly failed: FailedIndex },
): Promise<readonly AttachmentRecord[]> {
  if (containerId !== undefined) validateContainerId(containerId);
  if (network !== undefined) validateNetworkName(network);
  const { records, damaged } = await candidates(containerId, failed, context);
  const matching = records.filter((record) =>
    (network === undefined || record.network === network) && (!failed || record.attempts > 0)
  );
  const isToNetwork = (each: DamagedAttachment) =>
    network === undefined || isShortNameOf(each.network, network);
  const unreadable = damaged.filter(isToNetwork);
  return [...matching, ...await inParallel(unreadable, FILES_AT_ONCE, recordOfDamaged)];
}

/** Returns what is known of an attachment whose record cannot be used, in the form of a record. */
async function recordOfDamaged(damaged: DamagedAttachment): Promise<AttachmentRecord> {
  const { containerId, network, ifName, netns = "", file, reason, isNewer } = damaged;
  const msg = isNewer ? "its record is of a newer version of podwire" : "its record cannot be read";
  const hint = isNewer
    ? "upgrade podwire; until then it counts as in use and is left alone"
    : "`podwire recover` detaches it when it is not in use, or says what to do";
  return {
    ...{ containerId, network, ifName, netns },
    state: "failed",
    netnsId: undefined,
    owner: "unknown",
    since: new Date((await statOf(file))?.mtimeMs ?? 0).toISOString(),
    bootId: "",
    sequence: 0,
    attempts: 0,
    nextTry: undefined,
    error: { code: ERROR_CODES.decodingFailure, kind: "io", msg, details: reason, file, hint },
    config: "",
    cniArgs: [],
    capabilityArgs: {},
    result: undefined,
  };
}

async function candidates(
  containerId: string | undefined,
  failed: boolean,
  { store, failed: index }: { readonly store: AttachmentStore; readonly failed: FailedIndex },
): Promise<ContainerRecords> {
  if (containerId !== undefined) return await store.scan(containerId);
  if (!failed) return await store.scanAll();
  // Recovery adds the containers with damaged records to the index as well.
  const found: ContainerRecords[] = [];
  for (const id of await index.containers()) found.push(await store.scan(id));
  return {
    records: found.flatMap(({ records }) => records),
    damaged: found.flatMap(({ damaged }) => damaged),
  };
}
