import { netnsId } from "../host/netns.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { CniError, type CniErrorOptions } from "../cni/error.ts";
import type { AttachmentKey, AttachmentStore } from "./attachment_store.ts";
import type { CachedAttachment, ResultCache } from "./result_cache.ts";

/** What is known beside the record of an attachment, of which there is none. */
export interface UnrecordedFacts {
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  /** What libcni's cache has of it. */
  readonly foreign: CachedAttachment | undefined;
}

/**
 * Refuses an ADD of what is not on record, but attached all the same: by another runtime, or with a record that cannot be
 * read or is lost.
 *
 * @throws {CniError} kind `conflict`
 */
export async function requireUnattached(
  key: AttachmentKey,
  { store, cache, foreign }: UnrecordedFacts,
  context: CniErrorOptions,
): Promise<void> {
  await withCniErrors(() => cache.requireFree(key), context);
  if (foreign === undefined || await netnsId(foreign.netns) === undefined) return await store.makeRoom(key);
  const taken = `the container "${key.containerId}" is attached already as "${key.ifName}"`;
  const own = (await store.damaged(key.containerId)).find(({ ifName, network }) =>
    ifName === key.ifName && store.isNamed(key.network, network)
  );
  const hint = "detach it first: `podwire del` or `podwire rm`";
  if (own === undefined) {
    throw new CniError("conflict", `${taken}, by another runtime`, {
      ...context,
      details: "libcni's cache has it, and podwire has no record of it",
      hint,
    });
  }
  throw new CniError("conflict", `${taken}, but its record could not be read`, {
    ...context,
    details: `${own.file}: ${own.reason}`,
    hint,
  });
}
