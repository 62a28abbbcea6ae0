import { LIBC } from "../host/libc_constants.ts";
import type { Libc } from "../host/libc.ts";
import { NETLINK, NETLINK_SIZES } from "./netlink_constants.ts";
import { NetlinkError } from "./netlink_reply.ts";
import { NetlinkSocket } from "./netlink_socket.ts";
import { NetlinkWriter } from "./netlink_writer.ts";

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
  using socket = new NetlinkSocket(libc, NETLINK.NETLINK_NETFILTER);
  for (const { comment, ...chain } of wanted) {
    try {
      if (comment === undefined ? await hasChain(socket, chain) : await hasComment(socket, chain, comment)) {
        return true;
      }
    } catch (error) {
      // No such chain, or no nftables.
      if (!(error instanceof NetlinkError)) throw error;
    }
  }
  return false;
}

async function hasChain(socket: NetlinkSocket, { family, table, chain }: NftChain): Promise<boolean> {
  let isThere = false;
  const writer = nftRequest(NETLINK.NFT_MSG_GETCHAIN, 0, family);
  writer.attributeText(NETLINK.NFTA_CHAIN_TABLE, table).attributeText(NETLINK.NFTA_CHAIN_NAME, chain);
  await socket.get(writer.end(), ({ type }) => {
    isThere ||= type === messageType(NETLINK.NFT_MSG_NEWCHAIN);
  });
  return isThere;
}

async function hasComment(
  socket: NetlinkSocket,
  { family, table, chain }: NftChain,
  comment: string,
): Promise<boolean> {
  let isThere = false;
  const writer = nftRequest(NETLINK.NFT_MSG_GETRULE, NETLINK.NLM_F_DUMP, family);
  writer.attributeText(NETLINK.NFTA_RULE_TABLE, table).attributeText(NETLINK.NFTA_RULE_CHAIN, chain);
  await socket.list(writer.end(), () => ({ type, start, end }, reader) => {
    if (type !== messageType(NETLINK.NFT_MSG_NEWRULE)) return;
    reader.attributes(start + NETLINK_SIZES.nfgenmsg, end, (attribute, start, end) => {
      if (attribute !== NETLINK.NFTA_RULE_USERDATA) return;
      // Pieces of one byte for the kind, one for the length, and as many for the text.
      for (let at = start; at + 2 <= end;) {
        const after = at + 2 + reader.u8(at + 1, end);
        if (reader.u8(at, end) === COMMENT) isThere ||= reader.text(at + 2, Math.min(after, end)) === comment;
        at = after;
      }
    });
  });
  return isThere;
}

function nftRequest(type: number, flags: number, family: 4 | 6): NetlinkWriter {
  // The structure `nfgenmsg`: the family, a version and a number that are zero.
  const writer = new NetlinkWriter(messageType(type), flags);
  return writer.u8(family === 4 ? LIBC.AF_INET : LIBC.AF_INET6, 0, 0, 0);
}

function messageType(type: number): number {
  return NETLINK.NFNL_SUBSYS_NFTABLES << 8 | type;
}
