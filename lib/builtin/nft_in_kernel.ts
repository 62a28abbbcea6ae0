import { openLibc } from "../host/libc.ts";
import { speaksNetlink } from "../kernel/choose_kernel.ts";
import { withNetfilter } from "../kernel/netfilter_socket.ts";
import { NETLINK } from "../kernel/netlink_constants.ts";
import { NetlinkFormatError } from "../kernel/netlink_reader.ts";
import { NetlinkError } from "../kernel/netlink_reply.ts";
import type { NetlinkSocket } from "../kernel/netlink_socket.ts";
import { type CommentedRule, listNftComments } from "../kernel/netlink_nft.ts";
import { NFT_FAMILIES } from "../kernel/nft_message.ts";
import { isNftThere, listNftTableChains, type NftTableChain } from "../kernel/nft_table.ts";
import type { Host } from "./host.ts";

/** A chain of nftables, without its rules. */
export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** What packets pass it, such as `forward`; undefined for a chain that only other chains jump to. */
  readonly hook: string | undefined;
  /** Such as `filter` or `nat`; undefined as `hook`. */
  readonly type: string | undefined;
  /** What becomes of a packet that no rule decides about, `accept` or `drop`; undefined as `hook`. */
  readonly policy: string | undefined;
}

/**
 * What to list: a chain such as `chain inet cni_plugins_masquerade masq_checks`, or all chains of a table, such as
 * `table ip cni_hostport`.
 */
export type NftScope = `chain ${string}` | `table ${string}`;

/**
 * Lists the rules with a comment, none if there is no such chain or table; undefined if the kernel cannot be asked in this
 * process.
 */
export async function commentedRules(
  host: Host,
  scope: NftScope,
): Promise<readonly CommentedRule[] | undefined> {
  const [, familyName = "", table = "", chain] = scope.split(" ");
  const family = NFT_FAMILIES[familyName];
  if (family === undefined) return undefined;
  return await askKernel(host, async (socket) => {
    const place = { family, table, chain };
    return await isNftThere(socket, place) ? await listNftComments(socket, place) : [];
  });
}

/** Lists the chains of all tables; undefined if the kernel cannot be asked in this process. */
export async function chainsOfKernel(host: Host): Promise<readonly NftChain[] | undefined> {
  return await askKernel(host, async (socket) => (await listNftTableChains(socket)).flatMap(named));
}

function named({ family, table, name, hook }: NftTableChain): readonly NftChain[] {
  const familyName = Object.keys(NFT_FAMILIES).find((one) => NFT_FAMILIES[one] === family);
  if (familyName === undefined) return [];
  const { type, policy } = hook ?? {};
  return [{ family: familyName, table, name, hook: hook && hookName(familyName, hook.hook), type, policy }];
}

/** Only the hooks of packets of addresses have names here. */
function hookName(family: string, hook: number): string {
  return ["ip", "ip6", "inet"].includes(family) ? HOOKS[hook] ?? `hook ${hook}` : `hook ${hook}`;
}

const HOOKS: Readonly<Record<number, string>> = {
  [NETLINK.NF_INET_PRE_ROUTING]: "prerouting",
  [NETLINK.NF_INET_LOCAL_IN]: "input",
  [NETLINK.NF_INET_FORWARD]: "forward",
  [NETLINK.NF_INET_LOCAL_OUT]: "output",
  [NETLINK.NF_INET_POST_ROUTING]: "postrouting",
};

/** Undefined if the kernel, or this process, does not know nftables: `nft` says what is wrong. */
async function askKernel<T>(
  { run, signal }: Host,
  ask: (socket: NetlinkSocket) => Promise<T>,
): Promise<T | undefined> {
  signal.throwIfAborted();
  if (!speaksNetlink(run)) return undefined;
  try {
    return await withNetfilter(openLibc(), ask);
  } catch (error) {
    if (error instanceof NetlinkError || error instanceof NetlinkFormatError) return undefined;
    throw error;
  }
}
