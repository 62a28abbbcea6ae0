import { LIBC } from "../host/libc_constants.ts";
import { ipOf } from "./ip_bytes.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import type { RuleInfo } from "./operation.ts";

/** Says that no length is suppressed. */
const NONE = -1;

/** Reads a rule; undefined if the message is about something else. */
export function readRule(
  message: NetlinkMessage,
  reader: NetlinkReader,
): RuleInfo & { readonly family: 4 | 6 } | undefined {
  if (message.type !== NETLINK.RTM_NEWRULE) return undefined;
  const { start, end } = message;
  const at = NETLINK_OFFSETS.fib_rule_hdr;
  const family = reader.u8(start + at.family, end) === LIBC.AF_INET6 ? 6 : 4;
  const prefix = reader.u8(start + at.src_len, end);
  const isInverse = (reader.u32(start + at.flags, end) & NETLINK.FIB_RULE_INVERT) !== 0;
  const toTable = reader.u8(start + at.action, end) === NETLINK.FR_ACT_TO_TBL;
  const ofPackets = reader.u8(start + at.dst_len, end) + reader.u8(start + at.tos, end) > 0;
  const { source, priority, table = reader.u8(start + at.table, end), hasMore } = readAttributes(
    reader,
    start + NETLINK_SIZES.fib_rule_hdr,
    end,
  );
  return {
    family,
    priority,
    source: source && { ip: source, prefix },
    table: toTable && table !== NETLINK.RT_TABLE_UNSPEC ? table : undefined,
    isBySource: toTable && table !== NETLINK.RT_TABLE_UNSPEC && !isInverse && !ofPackets && !hasMore,
  };
}

function readAttributes(reader: NetlinkReader, start: number, end: number) {
  let source: ReturnType<typeof ipOf>;
  let table: number | undefined;
  let priority = 0;
  /** Whether there is something that the rule looks at beside the source, or that it does beside the look-up. */
  let hasMore = false;
  reader.attributes(start, end, (type, start, end) => {
    if (type === NETLINK.FRA_SRC) source = ipOf(reader.bytes(start, end));
    else if (type === NETLINK.FRA_TABLE) table = reader.u32(start, end);
    else if (type === NETLINK.FRA_PRIORITY) priority = reader.u32(start, end);
    else if (type === NETLINK.FRA_SUPPRESS_PREFIXLEN) hasMore ||= reader.i32(start, end) !== NONE;
    else if (type !== NETLINK.FRA_PROTOCOL) hasMore = true;
  });
  return { source, table, priority, hasMore };
}
