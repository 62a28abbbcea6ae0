import { readTextIfThere } from "../host/file.ts";
import { printSorted } from "../cni/libcni_text.ts";
import { anyNumber, anyObject, anyText, lenient, mapped, openObjectOf, type Shape } from "../cni/shape.ts";
import { type AttachmentKey, isSameAttachment } from "./attachment_key.ts";
import type { AttachmentRecord } from "./attachment_store.ts";
import type { CachedAttachment } from "./result_cache.ts";
import { decodeChecksummed, printChecksummed, UnusableRecord } from "./checksummed.ts";

/**
 * What is known of an attachment beside its record. Together with the entry in libcni's cache it says what the record
 * says: that entry alone could be another runtime's.
 */
export interface AttachmentOrigin
  extends Pick<AttachmentRecord, "owner" | "netns" | "netnsId" | "netnsSince" | "bootId"> {
  /** The digest of what the entry in libcni's cache says of how it was made. */
  readonly entry: string;
}

/** Which attachment has an interface of a namespace. */
export interface InterfaceClaim extends AttachmentKey {
  /** Claims of earlier versions have none. */
  readonly origin: AttachmentOrigin | undefined;
}

const KIND = "podwire.interface.v1";

/** The text of the file of the claim. */
export async function printClaim(record: AttachmentRecord): Promise<string> {
  const { containerId, network, ifName, owner, netns, netnsId = "", netnsSince, bootId } = record;
  const origin = { owner, netns, netnsId, bootId, entry: await entryDigest(record) };
  const since = netnsSince === undefined ? {} : { netnsSince };
  return await printChecksummed(KIND, { containerId, network, ifName, ...origin, ...since });
}

/**
 * The claim in a file; undefined if there is none.
 *
 * @throws {UnusableRecord} if it cannot be used
 */
export async function readClaim(file: string): Promise<InterfaceClaim | undefined> {
  try {
    const text = await readTextIfThere(file);
    return text === undefined ? undefined : await decodeChecksummed(KIND, text, SHAPE);
  } catch (error) {
    throw UnusableRecord.of(error);
  }
}

/**
 * Whether the entry in libcni's cache is what this installation wrote for that attachment: another runtime that attaches
 * under the same names writes a configuration and arguments of its own.
 */
export async function isOwnEntry(
  { origin, ...key }: InterfaceClaim,
  entry: CachedAttachment,
): Promise<boolean> {
  if (origin === undefined || !isSameAttachment(key, entry)) return false;
  return origin.entry === await entryDigest(entry);
}

const CLAIM = openObjectOf({ containerId: anyText, network: anyText, ifName: anyText }, { entry: anyText });

const ORIGIN = openObjectOf({
  owner: anyText,
  netns: anyText,
  netnsId: anyText,
  bootId: anyText,
  entry: anyText,
}, {
  netnsSince: lenient(anyNumber),
});

const SHAPE: Shape<InterfaceClaim> = mapped(anyObject, (body, path) => {
  const { entry, ...key } = CLAIM.read(body, path);
  return { ...key, origin: entry === undefined ? undefined : ORIGIN.read(body, path) };
});

/** Of all that is known before the ADD; its result comes later. */
async function entryDigest(entry: Omit<CachedAttachment, "result">): Promise<string> {
  const { containerId, network, ifName, netns, config, cniArgs, capabilityArgs } = entry;
  const text = printSorted([containerId, network, ifName, netns, config, cniArgs, capabilityArgs]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}
