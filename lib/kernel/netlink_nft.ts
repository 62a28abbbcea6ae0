import type { Libc } from "../host/libc.ts";
import { withNetfilter } from "./netfilter_socket.ts";
import { NETLINK } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import { NetlinkError } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import { bigEndian64, nftAttributes, nftFamily, nftRequest, nftType } from "./nft_message.ts";
import { isNftThere } from "./nft_table.ts";

/** A chain of nftables; those of the iptables that is built on it are such chains too. */
export interface NftChain {
  readonly family: 4 | 6;
  readonly table: string;
  readonly chain: string;
}

/** The kind of the piece of a rule's data that is its comment. */
const COMMENT = 0;

/**
 * Whether there is one of these chains, and, where a comment is given, a rule in it with exactly that comment. Asks for the
 * namespace where the calling thread is now, and changes nothing. False for a kernel without nftables.
 */
export async function hasNftRules(
  libc: Libc,
  wanted: readonly (NftChain & { readonly comment?: string | undefined })[],
): Promise<boolean> {
  return await withNetfilter(libc, async (socket) => {
    for (const { comment, ...chain } of wanted) {
      try {
        if (
          comment === undefined ? await hasChain(socket, chain) : await hasComment(socket, chain, comment)
        ) {
          return true;
        }
      } catch (error) {
        // No such chain, or no nftables.
        if (!(error instanceof NetlinkError)) throw error;
      }
    }
    return false;
  });
}

async function hasChain(socket: NetlinkSocket, { family, ...chain }: NftChain): Promise<boolean> {
  return await isNftThere(socket, { ...chain, family: nftFamily(family) });
}

async function hasComment(
  socket: NetlinkSocket,
  { family, table, chain }: NftChain,
  comment: string,
): Promise<boolean> {
  const rules = await listNftComments(socket, { family: nftFamily(family), table, chain });
  return rules.some((rule) => rule.comment === comment);
}

/** A rule with a comment. */
export interface CommentedRule {
  readonly chain: string;
  readonly handle: number;
  readonly comment: string;
}

/**
 * Lists the rules of a chain, or of a whole table, that have a comment; `family` is its number.
 *
 * @throws {NetlinkError} Also if they are not there.
 */
export async function listNftComments(
  socket: NetlinkSocket,
  { family, table, chain }: {
    readonly family: number;
    readonly table: string;
    readonly chain?: string | undefined;
  },
): Promise<readonly CommentedRule[]> {
  let rules: CommentedRule[] = [];
  const writer = nftRequest(NETLINK.NFT_MSG_GETRULE, NETLINK.NLM_F_DUMP, family);
  writer.attributeText(NETLINK.NFTA_RULE_TABLE, table);
  if (chain !== undefined) writer.attributeText(NETLINK.NFTA_RULE_CHAIN, chain);
  await socket.list(writer.end(), () => {
    rules = [];
    return (message, reader) => {
      if (message.type === nftType(NETLINK.NFT_MSG_NEWRULE)) rules.push(...commentedRule(message, reader));
    };
  });
  return rules;
}

function commentedRule(message: NetlinkMessage, reader: NetlinkReader): readonly CommentedRule[] {
  let [chain, handle] = ["", 0];
  const comments: string[] = [];
  nftAttributes(message, reader, (attribute, start, end) => {
    if (attribute === NETLINK.NFTA_RULE_CHAIN) chain = reader.text(start, end);
    if (attribute === NETLINK.NFTA_RULE_HANDLE) handle = bigEndian64(reader, start, end);
    if (attribute !== NETLINK.NFTA_RULE_USERDATA) return;
    // Pieces of one byte for the kind, one for the length, and as many for the text.
    for (let at = start; at + 2 <= end;) {
      const after = at + 2 + reader.u8(at + 1, end);
      if (reader.u8(at, end) === COMMENT) comments.push(reader.text(at + 2, Math.min(after, end)));
      at = after;
    }
  });
  return comments.slice(0, 1).map((comment) => ({ chain, handle, comment }));
}
