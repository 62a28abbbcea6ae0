import { sha512 } from "../host/sha256.ts";

/** An attachment, with the name of its network. */
export interface TaggedAttachment {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
}

/** A tag of {@linkcode attachmentTag}, alone or with a comment after it. */
const TAG = /^[0-9a-f]{16}-[0-9a-f]{16}(?:,|$)/;

/** Whether a link's alias is the tag of some attachment. */
export function isTag(alias: string): boolean {
  return TAG.test(alias);
}

/** The longest comment of an nftables rule, in bytes (NFTNL_UDATA_COMMENT_MAXLEN); a link's alias may be longer. */
const LONGEST_TAG = 128;

/** Returns the beginning of all tags of a network. */
export async function networkTag(network: string): Promise<string> {
  return (await sha512(network)).slice(0, 16);
}

/** Returns the tag of an attachment; no other attachment has a tag that begins like it. */
export async function attachmentTag(attachment: TaggedAttachment): Promise<string> {
  const { network, containerId, ifName } = attachment;
  return `${await networkTag(network)}-${(await sha512(`${ifName}:${containerId}`)).slice(0, 16)}`;
}

/** Returns what says of a comment or an alias whether it has the tag of an attachment of the network that is not among these. */
export async function staleTags(
  network: string,
  valid: readonly TaggedAttachment[],
): Promise<(text: string) => boolean> {
  const ours = `${await networkTag(network)}-`;
  const keep = await Promise.all(valid.map(attachmentTag));
  return (text) => text.startsWith(ours) && !keep.some((tag) => text.startsWith(tag));
}

/**
 * Returns the tag with names for people after it. It equals, byte for byte, the comment that the bridge plugin of the CNI
 * plugins project writes into its nftables rules, so that each of the two plugins finds the rules of the other.
 */
export async function attachmentComment(attachment: TaggedAttachment): Promise<string> {
  const { network, containerId, ifName } = attachment;
  const words = [`net: ${network}`, `if: ${ifName}`, `id: ${containerId}`].join(", ").replaceAll('"', "");
  return cut(`${await attachmentTag(attachment)}, ${words}`, LONGEST_TAG);
}

/**
 * Returns the name of a chain of a container in the `nat` table of iptables, as the CNI plugins project forms it. `prefix` is
 * that of the plugin, such as `DN-` for the ports of portmap.
 */
export async function iptablesChain(
  { network, containerId }: Omit<TaggedAttachment, "ifName">,
  prefix = "",
): Promise<string> {
  return `CNI-${prefix}${await sha512(network + containerId)}`.slice(0, 28);
}

function cut(text: string, bytes: number): string {
  const encoded = new TextEncoder().encode(text);
  if (encoded.length <= bytes) return text;
  // A character that is cut in half is dropped, not replaced.
  return new TextDecoder().decode(encoded.subarray(0, bytes), { stream: true });
}
