import { NETLINK } from "./netlink_constants.ts";
import { NetlinkError } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import type { NetlinkWriter } from "./netlink_writer.ts";
import { networkOrder32, networkOrder64, nftFamily, nftRequest, nftTransaction } from "./nft_message.ts";
import type { NftHook } from "./nft_table.ts";

/** The transport protocol that a rule requires, which steps made of old extensions of iptables must know. */
export interface NftRuleProtocol {
  readonly number: number;
  /** Whether it is any but this one. */
  readonly isInverted: boolean;
}

/** A change of a table. */
export type NftChange =
  /** A table that is there stays as it is. */
  | { readonly kind: "add-table" }
  /** Its rules stay if it is there. */
  | { readonly kind: "add-chain"; readonly chain: string; readonly hook?: NftHook | undefined }
  /** Without rules, and none may lead to it. */
  | { readonly kind: "remove-chain"; readonly chain: string }
  | { readonly kind: "remove-rule"; readonly chain: string; readonly handle: number }
  | {
    readonly kind: "add-rule";
    readonly chain: string;
    /** The handle of the rule that it comes before. @default {undefined} (at the end) */
    readonly before?: number | undefined;
    readonly protocol?: NftRuleProtocol | undefined;
    /** Writes its steps. */
    readonly write: (writer: NetlinkWriter) => void;
  };

/**
 * Carries out changes of a table in one transaction: all of them or none. Returns false, and changes nothing, if any rule of
 * the namespace has changed since that generation.
 *
 * @throws {NetlinkError} If the kernel refuses one of the changes. Then it has made none.
 */
export async function changeNftTable(
  socket: NetlinkSocket,
  family: 4 | 6,
  table: string,
  { generation, changes }: { readonly generation: number; readonly changes: readonly NftChange[] },
): Promise<boolean> {
  const writers = changes.map((change) => messageOf(change, nftFamily(family), table));
  try {
    await socket.change(nftTransaction(generation, writers));
    return true;
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === "ERESTART") return false;
    throw error;
  }
}

function messageOf(change: NftChange, family: number, table: string): NetlinkWriter {
  switch (change.kind) {
    case "add-table":
      return nftRequest(NETLINK.NFT_MSG_NEWTABLE, NETLINK.NLM_F_CREATE, family)
        .attributeText(NETLINK.NFTA_TABLE_NAME, table);
    case "add-chain":
      return addChain(nftRequest(NETLINK.NFT_MSG_NEWCHAIN, NETLINK.NLM_F_CREATE, family), table, change);
    case "remove-chain":
      // Without that flag the rules in it would go too.
      return nftRequest(NETLINK.NFT_MSG_DELCHAIN, NETLINK.NLM_F_NONREC, family)
        .attributeText(NETLINK.NFTA_CHAIN_TABLE, table).attributeText(NETLINK.NFTA_CHAIN_NAME, change.chain);
    case "remove-rule":
      return ruleIn(nftRequest(NETLINK.NFT_MSG_DELRULE, 0, family), table, change.chain)
        .attribute(NETLINK.NFTA_RULE_HANDLE, networkOrder64(change.handle));
    case "add-rule": {
      const flags = NETLINK.NLM_F_CREATE | (change.before === undefined ? NETLINK.NLM_F_APPEND : 0);
      return addRule(ruleIn(nftRequest(NETLINK.NFT_MSG_NEWRULE, flags, family), table, change.chain), change);
    }
  }
}

function addChain(
  writer: NetlinkWriter,
  table: string,
  { chain, hook }: NftChange & { readonly kind: "add-chain" },
): NetlinkWriter {
  writer.attributeText(NETLINK.NFTA_CHAIN_TABLE, table).attributeText(NETLINK.NFTA_CHAIN_NAME, chain);
  if (hook === undefined) return writer;
  const policy = hook.policy === "drop" ? NETLINK.NF_DROP : NETLINK.NF_ACCEPT;
  return writer
    .nested(NETLINK.NFTA_CHAIN_HOOK | NETLINK.NLA_F_NESTED, () => {
      writer.attribute(NETLINK.NFTA_HOOK_HOOKNUM, networkOrder32(hook.hook))
        .attribute(NETLINK.NFTA_HOOK_PRIORITY, networkOrder32(hook.priority));
    })
    .attribute(NETLINK.NFTA_CHAIN_POLICY, networkOrder32(policy))
    .attributeText(NETLINK.NFTA_CHAIN_TYPE, hook.type);
}

function ruleIn(writer: NetlinkWriter, table: string, chain: string): NetlinkWriter {
  return writer.attributeText(NETLINK.NFTA_RULE_TABLE, table).attributeText(NETLINK.NFTA_RULE_CHAIN, chain);
}

function addRule(
  writer: NetlinkWriter,
  { before, protocol, write }: NftChange & { readonly kind: "add-rule" },
): NetlinkWriter {
  if (before !== undefined) writer.attribute(NETLINK.NFTA_RULE_POSITION, networkOrder64(before));
  writer.nested(NETLINK.NFTA_RULE_EXPRESSIONS | NETLINK.NLA_F_NESTED, () => write(writer));
  if (protocol === undefined) return writer;
  return writer.nested(NETLINK.NFTA_RULE_COMPAT | NETLINK.NLA_F_NESTED, () => {
    const flags = protocol.isInverted ? NETLINK.NFT_RULE_COMPAT_F_INV : 0;
    writer.attribute(NETLINK.NFTA_RULE_COMPAT_PROTO, networkOrder32(protocol.number))
      .attribute(NETLINK.NFTA_RULE_COMPAT_FLAGS, networkOrder32(flags));
  });
}
