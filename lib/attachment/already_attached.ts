import { CniError, type CniErrorOptions } from "../cni/error.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { netnsId } from "../host/netns.ts";
import type { AttachmentKey, AttachmentStore } from "../state/attachment_store.ts";
import type { CachedAttachment, ResultCache } from "../state/result_cache.ts";
import { isShortNameOf } from "../state/short_name.ts";

/** What is known of an attachment without a record. */
export interface UnrecordedFacts {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  /** Its entry in libcni's cache. */
  readonly entry: CachedAttachment | undefined;
}

/** Returns the error for an ADD of what is attached already. */
export function alreadyAttached(
  { containerId, ifName }: AttachmentKey,
  context: CniErrorOptions,
  { by = "", details }: { readonly by?: string | undefined; readonly details?: string | undefined } = {},
): CniError {
  return new CniError("conflict", `the container "${containerId}" is attached already as "${ifName}"${by}`, {
    ...context,
    details,
    hint: "detach it first: `podwire del` or `podwire rm`",
  });
}

/**
 * Refuses an ADD of what has no record but is attached nevertheless: another runtime attached it, or its record is lost or
 * cannot be read.
 *
 * @throws {CniError} kind `conflict`
 */
export async function requireNotAttached(
  key: AttachmentKey,
  { store, cache, entry }: UnrecordedFacts,
  context: CniErrorOptions,
): Promise<void> {
  await withCniErrors(() => cache.requireFree(key), context);
  if (entry === undefined || await netnsId(entry.netns) === undefined) {
    return await store.requireReplaceable(key);
  }
  const damaged = (await store.damaged(key.containerId)).find(({ ifName, network }) =>
    ifName === key.ifName && isShortNameOf(network, key.network)
  );
  if (damaged === undefined) {
    throw alreadyAttached(key, context, {
      by: ", by another runtime",
      details: "libcni's cache has it, and podwire has no record of it",
    });
  }
  throw alreadyAttached(key, context, {
    by: ", but its record could not be read",
    details: `${damaged.file}: ${damaged.reason}`,
  });
}
