import { statOf } from "../host/file.ts";
import { ERROR_CODES } from "../spec/error.ts";
import { validateContainerId, validateNetworkName } from "../spec/name.ts";
import type { FailedIndex } from "./failed_index.ts";
import { inParallel } from "./parallel.ts";
import type { AttachmentRecord, AttachmentStore, DamagedAttachment } from "./record.ts";

const FILES_AT_ONCE = 16;

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
 * without reading any other. One whose record cannot be read counts as one that could not be detached.
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
  const meant = records.filter((record) =>
    (network === undefined || record.network === network) && (!failed || record.attempts > 0)
  );
  const { store } = parts;
  const damaged = containerId === undefined ? await store.allDamaged() : await store.damaged(containerId);
  const shown = damaged.filter((each) => network === undefined || store.isNamed(network, each.network));
  return [...meant, ...await inParallel(shown, FILES_AT_ONCE, unreadable)];
}

/** What can be shown of an attachment whose record cannot be read. */
async function unreadable({ file, ...key }: DamagedAttachment): Promise<AttachmentRecord> {
  const msg = "its record could not be read and was moved aside";
  const hint = "`podwire recover` detaches it when nobody uses it, or says what to do";
  return {
    ...key,
    state: "failed",
    netns: "",
    netnsId: undefined,
    owner: "unknown",
    since: new Date((await statOf(file))?.mtimeMs ?? 0).toISOString(),
    bootId: "",
    sequence: 0,
    attempts: 0,
    nextTry: undefined,
    error: { code: ERROR_CODES.decodingFailure, kind: "io", msg, details: `to ${file}`, file, hint },
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
): Promise<readonly AttachmentRecord[]> {
  if (containerId !== undefined) return await store.ofContainer(containerId);
  if (!failed) return await store.all();
  const found: AttachmentRecord[] = [];
  for (const id of await index.containers()) found.push(...await store.ofContainer(id));
  return found;
}
