import type { AttachmentKey } from "./attachment_key.ts";
import { readableMember, type UnusableRecord } from "./checksummed.ts";

/** An attachment whose record cannot be used, and was not replaced by another record. */
export interface DamagedAttachment extends AttachmentKey {
  /** A very long name is shortened, as in the name of the file. */
  readonly network: string;
  /** The path of the record. */
  readonly file: string;
  readonly reason: string;
  /** Whether a newer version wrote the record: it is not damaged, and nothing of the attachment may be touched. */
  readonly isNewer: boolean;
  /** The path of the namespace, if it can still be read. */
  readonly netns: string | undefined;
}

/** Returns what an unusable record still says. */
export function damagedOf(
  key: AttachmentKey,
  file: string,
  { unusable: { message: reason, isNewer }, text }: {
    readonly unusable: UnusableRecord;
    readonly text: string;
  },
): DamagedAttachment {
  // If the file holds a whole record of another container, it says nothing about this one.
  const netns = readableMember(text, "containerId") === key.containerId
    ? readableMember(text, "netns")
    : undefined;
  return { ...key, file, reason, isNewer, netns };
}
