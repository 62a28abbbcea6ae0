import { NETLINK } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import { NetlinkError, type Visit } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import type { NetlinkWriter } from "./netlink_writer.ts";
import { bigEndian32, bigEndian64, nftAttributes, nftFamily, nftRequest, nftType } from "./nft_message.ts";

/** Where the packets come to a chain from, and what becomes of those that none of its rules decides about. */
export interface NftHook {
  /** Number of the hook, such as that of NF_INET_FORWARD. */
  readonly hook: number;
  readonly priority: number;
  /** Such as `filter` or `nat`. */
  readonly type: string;
  readonly policy: "accept" | "drop";
}

/** A chain of a table. */
export interface NftTableChain {
  /** Number of the family, such as that of NFPROTO_INET. */
  readonly family: number;
  readonly table: string;
  readonly name: string;
  /** Undefined for a chain that only rules lead to. */
  readonly hook: NftHook | undefined;
}

/** One of the steps of a rule. */
export interface NftExpression {
  /** Its kind, such as `cmp`. */
  readonly name: string;
  /** Its attributes by their numbers. */
  readonly attributes: ReadonlyMap<number, Uint8Array>;
}

/** A rule of a table. */
export interface NftTableRule<T> {
  readonly chain: string;
  readonly handle: number;
  /** What `read` made of its steps. */
  readonly content: T;
}

/** A table as the kernel has it. */
export interface NftTable<T> {
  /** No other table ever has the same number; 0 if the kernel gives none. */
  readonly handle: number;
  /** The rules of each chain in their order. */
  readonly rules: readonly NftTableRule<T>[];
}

/** Returns the chains of all tables of a family, by its number, or of all families. @throws {NetlinkError} */
export async function listNftTableChains(
  socket: NetlinkSocket,
  family = 0,
): Promise<readonly NftTableChain[]> {
  let chains: NftTableChain[] = [];
  await socket.list(nftRequest(NETLINK.NFT_MSG_GETCHAIN, NETLINK.NLM_F_DUMP, family).end(), () => {
    chains = [];
    return (message, reader) => {
      if (message.type === nftType(NETLINK.NFT_MSG_NEWCHAIN)) chains.push(readChain(message, reader));
    };
  });
  return chains;
}

function readChain(message: NetlinkMessage, reader: NetlinkReader): NftTableChain {
  const family = reader.u8(message.start, message.end);
  let [table, name, type, policy] = ["", "", "", NETLINK.NF_ACCEPT as number];
  let place: { hook: number; priority: number } | undefined;
  nftAttributes(message, reader, (attribute, start, end) => {
    if (attribute === NETLINK.NFTA_CHAIN_TABLE) table = reader.text(start, end);
    if (attribute === NETLINK.NFTA_CHAIN_NAME) name = reader.text(start, end);
    if (attribute === NETLINK.NFTA_CHAIN_TYPE) type = reader.text(start, end);
    if (attribute === NETLINK.NFTA_CHAIN_POLICY) policy = bigEndian32(reader, start, end);
    if (attribute === NETLINK.NFTA_CHAIN_HOOK) place = readPlace(reader, start, end);
  });
  const hook = place &&
    { ...place, type, policy: policy === NETLINK.NF_DROP ? "drop" as const : "accept" as const };
  return { family, table, name, hook };
}

function readPlace(reader: NetlinkReader, start: number, end: number): { hook: number; priority: number } {
  const place = { hook: 0, priority: 0 };
  reader.attributes(start, end, (type, start, end) => {
    if (type === NETLINK.NFTA_HOOK_HOOKNUM) place.hook = bigEndian32(reader, start, end);
    if (type === NETLINK.NFTA_HOOK_PRIORITY) place.priority = bigEndian32(reader, start, end) | 0;
  });
  return place;
}

/**
 * Reads the rules of a table; undefined if it is not there. `read` gets the steps of each rule, apart from those of a table
 * that was read `before`: a rule never changes, it gets another handle.
 *
 * @throws {NetlinkError}
 */
export async function readNftTable<T>(
  socket: NetlinkSocket,
  family: 4 | 6,
  table: string,
  read: (expressions: readonly NftExpression[]) => T,
  before?: NftTable<T> | undefined,
): Promise<NftTable<T> | undefined> {
  const handle = await tableHandle(socket, family, table);
  if (handle === undefined) return undefined;
  const known = new Map(
    handle !== 0 && before?.handle === handle ? before.rules.map((rule) => [rule.handle, rule]) : [],
  );
  const writer = nftRequest(NETLINK.NFT_MSG_GETRULE, NETLINK.NLM_F_DUMP, nftFamily(family))
    .attributeText(NETLINK.NFTA_RULE_TABLE, table);
  let rules: NftTableRule<T>[] = [];
  await socket.list(writer.end(), () => {
    rules = [];
    return (message, reader) => {
      if (message.type !== nftType(NETLINK.NFT_MSG_NEWRULE)) return;
      const rule = readRule(message, reader);
      // Kernels before 4.20 also list those of other tables.
      if (rule.table !== table) return;
      rules.push(
        known.get(rule.handle) ?? {
          chain: reader.text(...rule.chain),
          handle: rule.handle,
          content: read(readNftExpressions(reader, ...rule.expressions)),
        },
      );
    };
  });
  return { handle, rules };
}

async function tableHandle(
  socket: NetlinkSocket,
  family: 4 | 6,
  table: string,
): Promise<number | undefined> {
  let handle = 0;
  const writer = nftRequest(NETLINK.NFT_MSG_GETTABLE, 0, nftFamily(family))
    .attributeText(NETLINK.NFTA_TABLE_NAME, table);
  const isThere = await isFound(socket, writer, (message, reader) => {
    nftAttributes(message, reader, (type, start, end) => {
      if (type === NETLINK.NFTA_TABLE_HANDLE) handle = bigEndian64(reader, start, end);
    });
  });
  return isThere ? handle : undefined;
}

/** Whether a table, or a chain of it, is there; `family` is its number. @throws {NetlinkError} */
export async function isNftThere(
  socket: NetlinkSocket,
  { family, table, chain }: {
    readonly family: number;
    readonly table: string;
    readonly chain?: string | undefined;
  },
): Promise<boolean> {
  const writer = chain === undefined
    ? nftRequest(NETLINK.NFT_MSG_GETTABLE, 0, family).attributeText(NETLINK.NFTA_TABLE_NAME, table)
    : nftRequest(NETLINK.NFT_MSG_GETCHAIN, 0, family).attributeText(NETLINK.NFTA_CHAIN_TABLE, table)
      .attributeText(NETLINK.NFTA_CHAIN_NAME, chain);
  return await isFound(socket, writer, () => {});
}

async function isFound(socket: NetlinkSocket, writer: NetlinkWriter, visit: Visit): Promise<boolean> {
  try {
    await socket.get(writer.end(), visit);
    return true;
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === "ENOENT") return false;
    throw error;
  }
}

type Place = readonly [start: number, end: number];

/** The places of what is read only if the rule is not known. */
function readRule(message: NetlinkMessage, reader: NetlinkReader) {
  let [table, handle] = ["", 0];
  let [chain, expressions]: Place[] = [[0, 0], [0, 0]];
  nftAttributes(message, reader, (type, start, end) => {
    if (type === NETLINK.NFTA_RULE_TABLE) table = reader.text(start, end);
    if (type === NETLINK.NFTA_RULE_CHAIN) chain = [start, end];
    if (type === NETLINK.NFTA_RULE_HANDLE) handle = bigEndian64(reader, start, end);
    if (type === NETLINK.NFTA_RULE_EXPRESSIONS) expressions = [start, end];
  });
  return { table, handle, chain: chain as Place, expressions: expressions as Place };
}

/** Reads the steps of a rule, between two places. @throws {NetlinkFormatError} */
export function readNftExpressions(
  reader: NetlinkReader,
  start: number,
  end: number,
): readonly NftExpression[] {
  const expressions: NftExpression[] = [];
  reader.attributes(start, end, (_element, start, end) => {
    let name = "";
    const attributes = new Map<number, Uint8Array>();
    reader.attributes(start, end, (type, start, end) => {
      if (type === NETLINK.NFTA_EXPR_NAME) name = reader.text(start, end);
      if (type !== NETLINK.NFTA_EXPR_DATA) return;
      reader.attributes(
        start,
        end,
        (type, start, end) => attributes.set(type, reader.bytes(start, end).slice()),
      );
    });
    expressions.push({ name, attributes });
  });
  return expressions;
}
