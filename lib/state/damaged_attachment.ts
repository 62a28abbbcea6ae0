import type { AttachmentKey } from "./attachment_key.ts";
import { readableMember } from "./checksummed.ts";

/** An attachment whose record cannot be used, and was not replaced by another record. */
export interface DamagedAttachment extends AttachmentKey {
  /** In a record of podwire 0.1.0 a very long name is shortened. */
  readonly network: string;
  /** The path of the file with the record. */
  readonly file: string;
  readonly reason: string;
  /** Whether a newer version wrote the record: it is not damaged, and nothing of the attachment may be touched. */
  readonly isNewer: boolean;
  /** The path of the namespace, if it can still be read. */
  readonly netns: string | undefined;
  /** What is left of the record, and the one before it if there is one. */
  readonly text: string;
}

/** Returns what an unusable record still says. */
export function damagedOf(
  key: AttachmentKey,
  file: string,
  { reason, isNewer, text }: Pick<DamagedAttachment, "reason" | "isNewer" | "text">,
): DamagedAttachment {
  // A whole record of another container says nothing about this one.
  const isOwn = readableMember(text, "containerId") === key.containerId;
  const netns = isOwn ? readableMember(text, "netns") : undefined;
  return { ...key, file, reason, isNewer, netns, text };
}
