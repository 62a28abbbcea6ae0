import { printSorted } from "../cni/libcni_text.ts";
import { anyNumber, anyObject, anyText, lenient, mapped, openObjectOf, type Shape } from "../cni/shape.ts";
import { readTextIfThere } from "../host/file.ts";
import { type AttachmentKey, isSameAttachment } from "./attachment_key.ts";
import type { AttachmentRecord } from "./attachment_store.ts";
import { decodeChecksummed, printChecksummed, UnusableRecord } from "./checksummed.ts";
import type { CachedAttachment } from "./result_cache.ts";

/**
 * What the claim says about an attachment. Together with the entry in libcni's cache it has everything that the record has.
 * The entry alone could be another runtime's.
 */
export interface AttachmentOrigin
  extends Pick<AttachmentRecord, "owner" | "netns" | "netnsId" | "netnsSince" | "bootId"> {
  /** The digest of the entry in libcni's cache, without the result. */
  readonly entry: string;
}

/** The attachment that has an interface of a namespace. */
export interface InterfaceClaim extends AttachmentKey {
  /** Undefined in claims of earlier versions. */
  readonly origin: AttachmentOrigin | undefined;
}

const KIND = "podwire.interface.v1";

/** Returns the text of the claim's file. */
export async function printClaim(record: AttachmentRecord): Promise<string> {
  const { containerId, network, ifName, owner, netns, netnsId = "", netnsSince, bootId } = record;
  const origin = { owner, netns, netnsId, bootId, entry: await entryDigest(record) };
  const since = netnsSince === undefined ? {} : { netnsSince };
  return await printChecksummed(KIND, { containerId, network, ifName, ...origin, ...since });
}

/**
 * Reads the claim in a file; undefined if there is none.
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
 * Whether this installation wrote the entry in libcni's cache for that attachment. Another runtime that attaches under the
 * same names writes another configuration and other arguments.
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

/** Returns the digest of everything that is known before the ADD. The result is known only later. */
async function entryDigest(entry: Omit<CachedAttachment, "result">): Promise<string> {
  const { containerId, network, ifName, netns, config, cniArgs, capabilityArgs } = entry;
  const text = printSorted([containerId, network, ifName, netns, config, cniArgs, capabilityArgs]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}
